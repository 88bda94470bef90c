# The first thing the interpreter runs. It reads the host's modules from a descriptor, starts them and leaves no trace
# in __main__. It must parse under any Python, so that an old one can be refused with words instead of a syntax error.
#
# The command line is INTERPRETER /proc/self/fd/N VASSAL. Descriptor N is this text, N-1 the modules, N-2 the
# scoreboard, N-3 the control socket; what lies between 2 and N-3 are the listeners. See vassal/hosts/hosts.go.
import sys


def boot():
    import os
    import sys
    last = int(sys.argv[0].rsplit("/", 1)[1])
    if sys.version_info < (3, 9) or sys.implementation.name != "cpython":
        os.write(last - 3, ('{"version":1,"word":"failed","kind":"Interpreter","text":"%s %d.%d"}' % (
            (getattr(sys, "implementation", None) and sys.implementation.name or "python",) + sys.version_info[:2])).encode())
        os._exit(1)
    parts = os.pread(last - 1, os.fstat(last - 1).st_size, 0)
    os.close(last)
    os.close(last - 1)
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the folder of "this script"
    sys.argv[:] = ["uwsgi"]
    main = sys.modules["__main__"].__dict__
    for name in ("__file__", "__cached__", "boot", "sys"):
        main.pop(name, None)
    main["__loader__"] = None

    at = 0
    codes = None
    sources = []
    while at < len(parts):  # each part: a line "NAME LENGTH", then LENGTH bytes
        end = parts.index(b"\n", at)
        name, length = parts[at:end].decode().split()
        at = end + 1 + int(length)
        if name == "compiled":  # the interpreter's magic number, then the marshalled list of all modules
            from _frozen_importlib_external import MAGIC_NUMBER
            if parts[end + 1:end + 5] == MAGIC_NUMBER:
                import marshal
                codes = marshal.loads(memoryview(parts)[end + 5:at])
                break
        else:
            sources.append((name, parts[end + 1:at]))
    if codes is None:
        codes = [(name, compile(text, "<emperord " + name + ".py>", "exec", dont_inherit=True, optimize=2)) for name, text in sources]
    package = sys.modules["_emperord"] = type(sys)("_emperord")
    package.__path__ = []
    for name, code in codes:
        module = type(sys)("_emperord." + name)
        sys.modules[module.__name__] = module
        setattr(package, name, module)
        exec(code, module.__dict__)
    return module.main, last - 3, last - 2


(lambda start, control, board: start(control, board))(*boot())
