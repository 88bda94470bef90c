"""What a request needs off the hot path: bodies, files, odd packets, refusals, error reports."""
import sys
from posix import close, read, write

import _socket
from _struct import pack

WRONG_PROTOCOL = "this socket speaks the uwsgi protocol; use uwsgi_pass, or http-socket"


class Bad(Exception):
    """A packet that is answered with 400, or not at all where the text is empty."""


class Gone(OSError):
    """The client has closed the connection."""


def answer(fd, status, text):
    """Send a short answer of our own. What cannot be sent is not worth a word."""
    head = "HTTP/1.1 %s\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n%s" % (status, text)
    try:
        write(fd, head.encode("latin-1"))
    except OSError:
        pass


def receive(fd, data):
    """Read on until a packet's header and block are complete; return what has come, or b"" if the peer left first.

    A packet with a modifier that is refused anyway comes back as soon as that can be told.
    """
    while True:
        need = 4
        if len(data) >= 4:
            need += data[1] | data[2] << 8
            if len(data) >= need or data[0] not in (0, 30, 100):
                return data
        more = read(fd, max(need - len(data), 16384))
        if not more:
            return b""
        data += more


def modifier(fd, data):
    """Deal with a packet whose first byte is not 0. Return True if the application shall see it, else answer it here."""
    first = data[0]
    if first == 30:
        return True
    if first == 100 and data[3] == 0:
        try:
            write(fd, b"\x64\0\0\1")
        except OSError:
            pass
        return False
    if data[:4].isalpha() or data[:4] in (b"GET ", b"PUT ", b"PRI "):
        answer(fd, "400 Bad Request", WRONG_PROTOCOL + "\n")
        raise Bad("somebody speaks HTTP to it: " + WRONG_PROTOCOL)
    raise Bad("modifier %d is refused: this is a Python application, it answers 0, 30 and the ping 100" % first)


def careful(data, end, warned):
    """Parse a block that holds something unusual, slowly and with all checks. Return the CGI variables and the scheme.

    warned is the set of what has been said already.
    """
    env = {}
    scheme = ""
    if end == 4:
        raise Bad("the block of variables is empty")
    i = 4
    while i < end:
        pair = []
        for _ in range(2):
            if i + 2 > end:
                raise Bad("a size in the block of variables overruns it")
            size = data[i] | data[i + 1] << 8
            i += 2
            if i + size > end:
                raise Bad("a size in the block of variables overruns it")
            pair.append(str(data[i:i + size], "latin-1"))
            i += size
        name, value = pair
        if "\0" in name or "\0" in value:
            raise Bad("a variable holds a NUL")
        if name == "CONTENT_LENGTH" and name in env:
            raise Bad("there are two CONTENT_LENGTH")
        if name == "UWSGI_SCHEME":
            scheme = value
        if name[:6] != "UWSGI_":
            env[name] = value
        elif name not in warned and name != "UWSGI_SCHEME" and len(warned) < 100:
            warned.add(name)
            say("dropped the variable %s of a request: whoever sends it could choose the code that runs\n" % ascii(name)[1:-1])
    return env, scheme


stall = [b""]  # socket-timeout as the kernel wants it; a list because it is set once, after loading


def limit(milliseconds):
    """Set how long a peer may neither send nor take anything."""
    stall[0] = pack("ll", milliseconds // 1000, milliseconds % 1000 * 1000)


def hurry(fd):
    """Let reads and writes of a connection fail when the peer stalls. Return True.

    Only requests with more to come than fits the socket's buffers need it, so only they pay for it.
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)  # the family is not looked at
    try:
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, stall[0])
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, stall[0])
    except OSError:
        pass  # the peer has gone: the next call says so
    finally:
        connection.detach()
    return True


def content_length(text):
    """Return CONTENT_LENGTH as a number."""
    if text.isdecimal() and len(text) < 19:
        return int(text)
    raise Bad("CONTENT_LENGTH is not a number")


def cut_script_name(env):
    """Do what modifier 30 asks: take SCRIPT_NAME off the front of PATH_INFO."""
    script, path = env.get("SCRIPT_NAME", ""), env.get("PATH_INFO", "")
    if script and path.startswith(script):
        env["PATH_INFO"] = path[len(script):]


class Input:
    """wsgi.input: the request's body, bounded by CONTENT_LENGTH. A body that ends early raises OSError."""

    __slots__ = ("_fd", "_left", "_kept")

    def __init__(self, fd, left, kept):
        self._fd = fd
        self._left = left - len(kept)  # bytes that have not been read from the socket
        self._kept = kept  # bytes that have been read and not been asked for

    def _more(self, most):
        """Read from the socket into the kept bytes."""
        try:
            data = read(self._fd, min(self._left, max(most, 32768)))
        except BlockingIOError:
            self._left = 0
            raise OSError("the client stalled while it sent the body: nothing came for socket-timeout") from None
        except OSError as error:
            self._left = 0
            raise OSError("cannot read the request's body: %s" % error) from None
        if not data:
            left, self._left = self._left, 0
            raise OSError("the client left before it had sent the whole body: %d bytes are missing" % left)
        self._left -= len(data)
        return data

    def read(self, size=-1, /):
        if size is None or size < 0:
            size = len(self._kept) + self._left
        kept = self._kept
        if size <= len(kept):
            self._kept = kept[size:]
            return kept[:size]
        if not self._left:
            self._kept = b""
            return kept
        chunks, have = [kept], len(kept)
        self._kept = b""
        while have < size and self._left:
            chunks.append(self._more(min(size - have, 1 << 20)))
            have += len(chunks[-1])
        data = b"".join(chunks)
        self._kept = data[size:]
        return data[:size]

    def readline(self, size=-1, /):
        limit = size if size is not None and size >= 0 else 1 << 62
        chunks, have = [], 0
        while True:
            kept = self._kept
            end = kept.find(b"\n") + 1
            take = min(end or len(kept), limit - have)
            chunks.append(kept[:take])
            self._kept = kept[take:]
            have += take
            if (end and take == end) or have >= limit or not self._left:
                return b"".join(chunks)
            self._kept = self._more(32768)

    def readlines(self, hint=-1, /):
        lines, have = [], 0
        for line in self:
            lines.append(line)
            have += len(line)
            if hint is not None and 0 < hint <= have:
                break
        return lines

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def drain(self):
        """Read and forget the rest, so that closing the socket does not throw away the answer."""
        self._kept = b""
        fd = self._fd
        while self._left > 0:
            try:
                n = len(read(fd, min(self._left, 65536)))
            except OSError:
                break
            if not n:
                break
            self._left -= n
        self._left = 0
        self._fd = -1


class FileWrapper:
    """wsgi.file_wrapper: an iterable over a file, sent with sendfile where the file has a descriptor."""

    def __init__(self, file, size=32768):
        self.file = file
        self.size = size
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self):
        return self

    def __next__(self):
        data = self.file.read(self.size)
        if data:
            return data
        raise StopIteration


def regular(wrapper):
    """Return (descriptor, position, bytes left) if the wrapped file can be sent by the kernel, else None."""
    import os
    import stat
    file = wrapper.file
    try:
        from io import BufferedReader, FileIO
        if type(file) is not FileIO and not (type(file) is BufferedReader and type(file.raw) is FileIO):
            return None  # what read() gives may be another thing than what the descriptor does: gzip, text
        fd = file.fileno()
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            return None
        at = file.tell()
    except Exception:
        return None
    return fd, at, max(facts.st_size - at, 0)


def send_file(out, source, at, left):
    """Send a piece of a file; return the bytes sent."""
    from os import sendfile
    sent = 0
    while sent < left:
        try:
            n = sendfile(out, source, at + sent, min(left - sent, 1 << 30))
        except OSError as error:
            raise Gone(*error.args) from None
        if not n:
            break  # the file has shrunk
        sent += n
    return sent


def send_rest(fd, data, sent):
    """Send what one write() has left over."""
    rest = memoryview(data)[sent:]
    try:
        while rest:
            rest = rest[write(fd, rest):]
    except OSError as error:
        raise Gone(*error.args) from None


limits = {}  # what the vassal file limits: space in bytes, processes


def limited(error):
    """Say which limit of the vassal file an exception may come from, "" if from none."""
    space = isinstance(error, MemoryError) or isinstance(error, OSError) and error.errno == 12  # ENOMEM
    processes = isinstance(error, BlockingIOError) and error.filename is None
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        space = processes = True
    said = []
    if space and limits.get("space"):
        said.append("limit-as = %d" % (limits["space"] >> 20))
    if processes and limits.get("processes"):
        said.append("limit-nproc = %d" % limits["processes"])
    return " or ".join(said)


def report(error):
    """Write an application's traceback to the log in one piece, without our own frames."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith("<emperord "):
        trace = trace.tb_next
    try:
        from traceback import format_exception
        text = "".join(format_exception(type(error), error, trace))
    except Exception:
        text = "%s: (its traceback could not be formatted)\n" % type(error).__name__
    limit = limited(error)
    say(text + (limit + " of the vassal file was reached\n" if limit else ""))


def say(text):
    """Write text to the log, whatever the application has done to sys.stderr."""
    try:
        write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def away_from_standard(fd):
    """An application that closed descriptor 0, 1 or 2 must not find a client's connection there: move it."""
    from fcntl import F_DUPFD_CLOEXEC, fcntl
    moved = fcntl(fd, F_DUPFD_CLOEXEC, 3)
    close(fd)
    return moved
