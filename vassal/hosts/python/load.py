"""Loads the application as uWSGI does: module or wsgi-file, callable, factory."""
import sys


class Failed(Exception):
    """The application could not be loaded. kind, text, file and line say why; the traceback has been written."""

    def __init__(self, kind, text, file="", line=0):
        super().__init__(text)
        self.kind, self.text, self.file, self.line = kind, text, file, line


def prepare(order):
    """Set sys.path in uWSGI's order: pythonpath (the last one first), ".", "", and what Python has by itself."""
    sys.path[0:0] = list(reversed(order["path"])) + [".", ""]
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.reconfigure(line_buffering=True)
        except (AttributeError, ValueError, OSError):
            pass  # closed, or not a text stream


def application(order):
    """Return the WSGI application, or raise Failed."""
    try:
        if order["file"]:
            module, name = from_file(order["file"]), order["callable"] or "application"
        else:
            path, _, name = order["module"].partition(":")
            __import__(path)
            module, name = sys.modules[path], name or order["callable"] or "application"
        return pick(module, name)
    except Failed:
        raise
    except BaseException as error:
        raise explain(error) from None


def from_file(path):
    """Run a file as a module of its own, under the name that uWSGI gives it."""
    name = path.replace("/", "_").replace(".", "_")
    if name.endswith("_py"):
        name = name[:-3]
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    module = type(sys)("uwsgi_file_" + name)
    module.__file__ = path
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    return module


def pick(module, name):
    """Return what name means in module: "app", "pkg.app" or the factory "make()"."""
    factory = name.endswith("()")
    found = module
    for part in name[:-2].split(".") if factory else name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            others = [n for n in ("application", "app", "wsgi", "wsgi_app", "create_app", "make_app") if callable(getattr(module, n, None))]
            raise Failed("NoCallable", name, ",".join(others)) from None
    if factory:
        found = found()
    if not callable(found):
        raise Failed("NotCallable", name, type(found).__name__)
    return found


def explain(error):
    """Write the traceback of a failed load and return the cause in short: what, and the file and line of it."""
    trace, file, line = error.__traceback__, "", 0
    while trace is not None and ours(trace):
        trace = trace.tb_next
    deepest = trace
    while deepest is not None:
        name = deepest.tb_frame.f_code.co_filename
        if not name.startswith("<"):
            file, line = name, deepest.tb_lineno
        deepest = deepest.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno or 0
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    try:
        from traceback import format_exception
        report = "".join(format_exception(type(error), error, trace))
    except Exception:
        report = "%s: %s\n" % (type(error).__name__, text)
    import posix
    try:
        posix.write(2, report.encode("utf-8", "backslashreplace"))
    except OSError:
        pass
    kind = type(error).__name__
    if isinstance(error, ModuleNotFoundError):
        text = (error.name or "") if str(error) == "No module named %r" % error.name else text
        kind = kind if text == error.name else "ImportError"
    return Failed(kind, text, file, line)


def ours(trace):
    """Tell whether a frame is the host's or the import machinery's."""
    name = trace.tb_frame.f_code.co_filename
    return name.startswith("<emperord ") or name.startswith("<frozen importlib")
