"""A worker: accepts connections and answers requests until it is told to stop.

serve() is one long function on purpose: everything it touches for a request is local to it, which is what makes it
fast in CPython. It makes four system calls a request: accept, read, write, close.
"""
import errno
from posix import close, dup2, read, write
from time import ctime, monotonic_ns, time

from _emperord import headers, request

# A slot of the scoreboard, in 8-byte words. The layout is protocol/control/scoreboard.go's.
STATE, PID, REQUESTS, EXCEPTIONS, START, BUSY, BYTES, WATCHED = range(8)
IDLE, READING, RUNNING = 1, 2, 3

# What accept() says when the worker is to stop (/dev/null is no socket, and no epoll) or cannot go on.
STOPPED = errno.ENOTSOCK, errno.EINVAL
FATAL = STOPPED + (errno.EBADF, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


def stopper(listeners, null):
    """Return a signal handler that stops the worker without losing a connection.

    It puts /dev/null over the listeners' numbers: a connection that has been accepted is served, the next accept fails.
    """
    def stop(number, frame):
        for fd in listeners:
            try:
                dup2(null, fd, False)
            except OSError:
                pass
    return stop


def expirer(slot, null):
    """Return a signal handler that gives up a peer which takes too long to send its request.

    vassald has it sent when the scoreboard shows a worker reading for longer than socket-timeout. The handler looks for
    the frame that is reading and puts /dev/null over its connection: the read then sees the end.
    """
    def expire(number, frame):
        while frame is not None and slot[STATE] == READING:
            if frame.f_code is serve.__code__:
                fd = frame.f_locals.get("fd", -1)
                if fd >= 0:
                    dup2(null, fd, False)
                return
            frame = frame.f_back
    return expire


def serve(app, accept, wait, slot, board, base, log, active, child):
    """Serve until accept() fails, and return that error.

    app is the WSGI application, accept returns (descriptor, peer), wait returns when it is worth trying again, slot is
    this worker's words of the scoreboard, board all slots, base the environ of every request, log tells whether requests
    are logged, active is called when nobody watches the scoreboard, child is true in a process that the application has
    forked.
    """
    Gone, Bad, Input, Wrapper = request.Gone, request.Bad, request.Input, request.FileWrapper
    fd = -1
    stamp = second = requests = busy = total = 0
    warned = set()
    body = None

    def write_now(data):  # the callable that start_response returns
        if not isinstance(data, bytes):
            raise TypeError("write() wants bytes, not %s" % type(data).__name__)
        if answer[7] or answer[1]:
            return
        answer[8] += len(data)
        if not answer[4]:
            if not data:
                return
            answer[4] = True
            data = answer[0] + data
        request.hurry(answer[6])
        request.send_rest(answer[6], data, 0)

    # See headers.responder for 0 to 5; 6 the connection, 7 a HEAD request, 8 bytes of body that write() has sent.
    answer = [None, False, "", 0, False, write_now, -1, False, 0]
    told = answer  # a name that no inner function uses is faster
    start_response = headers.responder(answer)
    slot[STATE] = IDLE
    while True:
        try:
            fd, peer = accept()
        except BlockingIOError:
            wait()
            continue
        except OSError as error:
            if error.errno in FATAL:
                return error
            continue  # a connection that ended before it was accepted, or trouble of the network
        slot[START] = started = monotonic_ns()  # before the state: vassald must not see an old time with a new state
        slot[STATE] = READING
        if not slot[WATCHED]:
            active()
        result = None
        generated = 0
        try:
            if fd < 3:
                fd = request.away_from_standard(fd)
            data = read(fd, 16384)
            size = len(data)
            if size < 5 or data[0] or size < (end := 4 + (data[1] | data[2] << 8)):
                data = request.receive(fd, data)
                if not data or data[0] and not request.modifier(fd, data):
                    continue
                end = 4 + (data[1] | data[2] << 8)
            text = str(data, "latin-1")
            if end == 4 or "UWSGI_" in text or text.count("\x0e\0CONTENT_LENGTH") > 1:
                environ, scheme = request.careful(data, end, warned)
            else:
                environ = {}
                i = 6
                stop = end + 2
                while i < stop:  # each variable: size (2 bytes, low first), name, size, value
                    k = i + data[i - 2]
                    if data[i - 1]:
                        k += data[i - 1] << 8
                    v = k + 2
                    e = v + data[k]
                    if data[k + 1]:
                        e += data[k + 1] << 8
                    environ[text[i:k]] = text[v:e]
                    i = e + 2
                if i != stop:
                    raise Bad("a size in the block of variables overruns it")
                if "\0" in "".join([*environ, *environ.values()]):
                    raise Bad("a variable holds a NUL")
                scheme = ""
            if data[0]:
                request.cut_script_name(environ)
            variables = len(environ)
            length = environ.get("CONTENT_LENGTH")
            if length is not None:
                if length:
                    length = request.content_length(length)
                else:
                    del environ["CONTENT_LENGTH"]
            if environ.get("CONTENT_TYPE") == "":
                del environ["CONTENT_TYPE"]
            method = environ.get("REQUEST_METHOD", "")
            environ.update(base)
            slow = False
            if length:
                if length > len(data) - end:
                    slow = request.hurry(fd)
                environ["wsgi.input"] = body = Input(fd, length, data[end:end + length])
            if scheme or "HTTPS" in environ or environ.get("REQUEST_SCHEME") == "https":
                https = environ.get("HTTPS", "").lower()
                if https in ("on", "1", "true", "https") or "https" in (scheme, environ.get("REQUEST_SCHEME")):
                    environ["wsgi.url_scheme"] = "https"
            if log:
                uri, protocol = environ.get("REQUEST_URI", ""), environ.get("SERVER_PROTOCOL", "")
                address, user = environ.get("REMOTE_ADDR", ""), environ.get("REMOTE_USER", "")

            told[:] = None, False, "", 0, False, write_now, fd, method == "HEAD", 0
            slot[STATE] = RUNNING
            result = app(environ, start_response)
            if type(result) is Wrapper:
                generated = send_wrapped(fd, told, result)
            else:
                for chunk in result:
                    if told[4]:
                        if chunk:
                            if not slow:
                                slow = request.hurry(fd)
                            size = len(chunk)
                            try:
                                sent = write(fd, chunk)
                            except OSError as error:
                                raise Gone(*error.args) from None
                            if sent != size:
                                request.send_rest(fd, chunk, sent)
                            generated += size
                    elif chunk:
                        if told[7] or told[1]:
                            break
                        head = told[0]
                        if head is None:
                            raise AssertionError("the application sent a body before it called start_response")
                        data = head + chunk
                        told[4] = True
                        size = len(data)
                        if size > 65536 and not slow:
                            slow = request.hurry(fd)
                        try:
                            sent = write(fd, data)
                        except OSError as error:
                            raise Gone(*error.args) from None
                        if sent != size:
                            request.send_rest(fd, data, sent)
                        generated = size - len(head)
            if not told[4]:
                head = told[0]
                if head is None:
                    raise AssertionError("the application returned without calling start_response")
                told[4] = True
                request.send_rest(fd, head, 0)
        except Gone:
            pass
        except Bad as error:
            refuse(fd, slot, peer, str(error), warned)
        except BaseException as error:
            if child:
                quit(error)
            if slot[STATE] == RUNNING:
                fail(fd, slot, told, error)
            elif isinstance(error, IndexError):
                refuse(fd, slot, peer, "a size in the block of variables overruns it", warned)
            elif not isinstance(error, OSError):
                request.report(error)
        finally:
            if result is not None:
                if type(result) is not list:
                    finish(result, slot)
                result = None
            ran = slot[STATE] == RUNNING
            if body is not None:
                slot[START] = monotonic_ns()
                slot[STATE] = READING
                body.drain()
                body = environ = None
            try:
                close(fd)
            except OSError:
                pass
            fd = -1
            now = monotonic_ns()
            slot[BUSY] = busy = busy + now - started
            slot[STATE] = IDLE
            if ran:
                slot[REQUESTS] = requests = requests + 1
                slot[BYTES] = total = total + generated + told[8]
                if log:
                    if second != int(time()):
                        second = int(time())
                        stamp = ctime(second)
                    head = told[0] or b""
                    line = "[pid: %d|app: 0|req: %d/%d] %s (%s) {%d vars in %d bytes} [%s] %s %s => generated %d bytes in %d msecs (%s %s) %d headers in %d bytes (1 switches on core 0)\n" % (
                        slot[PID], requests, sum(board[REQUESTS::8]), address, user, variables * 2, end - 4, stamp,
                        method, uri, generated + told[8], (now - started) // 1000000, protocol,
                        told[2][9:12] if head else "500", told[3] if head else 0, len(head))
                    if not line[:-1].isprintable():
                        line = ascii(line[:-1])[1:-1] + "\n"
                    try:
                        write(2, line.encode("latin-1", "backslashreplace"))
                    except OSError:
                        pass
            environ = None


def send_wrapped(fd, answer, wrapper):
    """Send what wsgi.file_wrapper wraps; return the bytes of the body."""
    request.hurry(fd)
    plain = request.regular(wrapper)
    if answer[0] is None:
        raise AssertionError("the application returned without calling start_response")
    if answer[7] or answer[1]:
        return 0
    if not answer[4]:
        answer[4] = True
        request.send_rest(fd, answer[0], 0)
    if plain is not None:
        return request.send_file(fd, *plain)
    sent = 0
    for chunk in wrapper:
        request.send_rest(fd, chunk, 0)
        sent += len(chunk)
    return sent


def quit(error):
    """End a process that the application has forked in a request and that came back by an exception."""
    from os import _exit
    code = 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    else:
        request.report(error)
    _exit(code & 255)


def finish(result, slot):
    """Call close() of an application's result, as PEP 3333 promises whatever has happened before."""
    close_result = getattr(result, "close", None)
    if close_result is not None:
        try:
            close_result()
        except BaseException as error:
            slot[EXCEPTIONS] += 1
            request.report(error)


def fail(fd, slot, answer, error):
    """The application has raised: its traceback to the log, 500 to the client if nothing has been sent yet."""
    slot[EXCEPTIONS] += 1
    request.report(error)
    if not answer[4]:
        answer[0] = None
        request.answer(fd, "500 Internal Server Error", "Internal Server Error")


def refuse(fd, slot, peer, why, warned):
    """A packet that is not one: 400, and one line in the log for each reason and minute."""
    host = peer[0] if isinstance(peer, tuple) else ""
    key = monotonic_ns() // 60000000000, host, why
    if key not in warned:
        if len(warned) > 100:
            warned.clear()
        warned.add(key)
        request.say("refused a connection%s: %s\n" % (" from " + host if host else "", why))
    if not why.startswith("somebody"):
        request.answer(fd, "400 Bad Request", why + "\n")


def waiter(fd):
    """Return a function that waits for a connection. It is needed when another generation of the same application has
    more listeners than this one: it makes them non-blocking, and they are the same for both.
    """
    def wait():
        from select import POLLIN, poll
        waiting = poll()
        waiting.register(fd, POLLIN)
        waiting.poll()
    return wait


def any_of(sockets):
    """Return an accept() over several listeners, which must not block, and the descriptor of its epoll."""
    from select import EPOLLEXCLUSIVE, EPOLLIN, epoll
    waiting = epoll(len(sockets))
    accepts = {}
    for listener in sockets:
        accepts[listener.fileno()] = listener._accept
        waiting.register(listener.fileno(), EPOLLIN | EPOLLEXCLUSIVE)
    ready = []

    def accept():
        while True:
            while ready:
                try:
                    return accepts[ready.pop()[0]]()
                except BlockingIOError:
                    pass  # another worker was faster
            ready.extend(waiting.poll())

    return accept, waiting.fileno()
