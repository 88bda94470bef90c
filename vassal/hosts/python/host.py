"""The Python host: loads the application once, forks workers, and does what vassald says.

Orders and answers are JSON, one packet each, on the control socket; protocol/control describes them. The host decides
nothing: it loads when told to, forks when told to, and stops when told to or when vassald has gone.
"""
import errno
import gc
import os
import sys
from time import monotonic, sleep

import _json
import _signal as signals
import _socket
from fcntl import F_GETFL, F_SETFL, F_SETOWN, F_SETSIG, fcntl
from mmap import mmap
from select import POLLIN, POLLOUT, poll

from _emperord import api, load, request, worker

VERSION = 1
LARGEST = 1 << 17  # bytes of one order, as in protocol/control
ROOM = 8 << 20  # bytes of address space that the host needs beyond what it has when it begins
HANGUP_MERCY = 0.8  # seconds that workers have to end when vassald has gone, so that all has gone within one


class Scanner:
    """What _json.make_scanner wants to know. The json package would cost ten times the time and memory."""

    strict = True
    object_hook = object_pairs_hook = parse_constant = None
    parse_float, parse_int = float, int
    memo = {}


quote = _json.encode_basestring_ascii


def rename(name):
    """Have ps show a name: it goes where the kernel has put the command line, as far as it fits. vassald has made room."""
    if not name:
        return
    try:
        with open("/proc/self/stat", "rb") as file:
            start, end = map(int, file.read().rpartition(b")")[2].split()[45:47])  # arg_start, arg_end: fields 48 and 49, proc_pid_stat(5)
        room = end - start - 2
        if room > 0:
            # with something else than NUL at the end, the kernel shows what stands before the first one (proc_pid_cmdline(5))
            text = name.encode("utf-8", "surrogateescape").partition(b"\0")[0][:room]
            with open("/proc/self/mem", "r+b", 0) as memory:
                memory.seek(start)
                memory.write(text.ljust(end - start - 1, b"\0") + b"\1")
    except (OSError, ValueError):
        pass  # it is only a name


def main(control, board):
    """Run the host; in a worker, run the worker. Does not return."""
    host = Host(control, board)
    slot = host.obey()
    host.work(slot)


class Host:
    def __init__(self, control, board):
        self.control = control
        self.descriptor = board
        self.scan = _json.make_scanner(Scanner)
        self.pid = os.getpid()
        self.workers = {}  # pid → (slot, the writing end of its lifeline)
        self.listeners = []
        self.stopping = self.alone = False
        self.asked = set()  # what sweep has asked to end
        self.mark = b"\0EMPERORD_VASSALD=" + os.environb.get(b"EMPERORD_VASSALD", b"") + b"\0"
        self.retired = set()  # pids of workers that end though the host does not
        for fd in (control, board):
            os.set_inheritable(fd, False)

    # What the host hears and says.

    def say(self, word, *numbers, **texts):
        """Say a word to vassald. numbers are name, value, name, value…"""
        parts = ['{"version":%d,"word":"%s"' % (VERSION, word)]
        for i in range(0, len(numbers), 2):
            parts.append(',"%s":%d' % (numbers[i], numbers[i + 1]))
        for name, text in texts.items():
            parts.append(',"%s":%s' % (name, quote(text[:1000])))
        packet = ("".join(parts) + "}").encode()
        while True:
            try:
                os.write(self.control, packet)
                return
            except BlockingIOError:
                full = poll()
                full.register(self.control, POLLOUT)
                full.poll()
            except OSError:
                return  # vassald has gone; the next read of the control socket says so

    def hear(self):
        """Return the next order, None if there is none now, or False when vassald has gone."""
        try:
            data = os.read(self.control, LARGEST)
        except BlockingIOError:
            return None
        except OSError:
            return False
        if not data:
            return False
        order, _ = self.scan(data.decode("utf-8", "replace"), 0)
        return order if order.get("version") == VERSION else {"word": ""}

    # The loop.

    def obey(self):
        """Do what vassald orders. Return only in a new worker, with its slot."""
        ring, bell = os.pipe()
        for fd in (ring, bell):
            os.set_blocking(fd, False)
        self.bells = ring, bell
        waiting = poll()
        waiting.register(self.control, POLLIN)
        waiting.register(ring, POLLIN)
        self.control_open = True
        while True:
            waiting.poll(self.nudge())
            try:
                os.read(ring, 512)
            except BlockingIOError:
                pass
            self.reap()
            while self.control_open:
                order = self.hear()
                if order is None:
                    break
                if order is False:
                    self.control_open = False
                    waiting.unregister(self.control)
                    self.orphaned()
                    break
                slot = self.do(order)
                if slot is not None:
                    return slot

    def do(self, order):
        """Do one order. Return a slot in a new worker, else None."""
        word = order.get("word")
        if word == "load":
            self.load(order)
        elif word == "fork" and not self.stopping:
            return self.fork(order["slot"], order.get("name"))
        elif word == "expire":
            for pid, (slot, _) in self.workers.items():
                if slot == order["slot"] and pid == order["pid"]:
                    os.kill(pid, signals.SIGURG)
        elif word == "retire" and not self.stopping:
            self.retired = set(self.workers)
            self.step, self.again = 0.01, monotonic()
        elif word == "stop":
            self.stop(order["mercy_ms"] / 1000)
        return None

    def load(self, order):
        """Load the application, or leave that to the workers (lazy-apps)."""
        self.order = order
        rename(order.get("name"))
        self.board = memoryview(mmap(self.descriptor, 64 * order["processes"])).cast("Q")
        order["lock"] = self.descriptor
        for fd in order["listeners"]:
            os.set_inheritable(fd, False)
            # The object is made before the application can call socket.setdefaulttimeout().
            listener = _socket.socket(fileno=fd)
            listener.setblocking(len(order["listeners"]) == 1)
            self.listeners.append(listener)
        self.base = {
            "wsgi.version": (1, 0), "wsgi.multithread": False, "wsgi.multiprocess": order["processes"] > 1, "wsgi.run_once": False,
            "wsgi.url_scheme": "http", "wsgi.file_wrapper": request.FileWrapper, "wsgi.input": request.Input(-1, 0, b""),
            "uwsgi.version": api.VERSION, "uwsgi.node": os.uname().nodename.encode(),
        }
        self.number = api.install(order, self.board)
        if order["limit_as"] or order["limit_nproc"]:
            try:
                self.restrict(order["limit_as"], order["limit_nproc"])
            except load.Failed as failure:
                self.failed(failure)
                os._exit(1)
        load.prepare(order)
        self.app = None
        if not order["lazy"]:
            signals.signal(signals.SIGIO, self.abandoned)
            try:
                self.app = load.application(order)
            except load.Failed as failure:
                self.failed(failure)
                flush()
                os._exit(1)
            self.settle()
        # The application may have set handlers of its own; the host needs these.
        signals.signal(signals.SIGCHLD, lambda number, frame: None)
        signals.signal(signals.SIGTERM, lambda number, frame: os.getpid() == self.pid and self.stop(HANGUP_MERCY))
        signals.signal(signals.SIGIO, lambda number, frame: os.getpid() == self.pid and self.orphaned())
        # A handler that does nothing is reset by exec, for the application's own programs; SIG_IGN would not be.
        signals.signal(signals.SIGINT, nothing)
        signals.signal(signals.SIGHUP, nothing)
        signals.set_wakeup_fd(self.bells[1], warn_on_full_buffer=False)
        self.say("loaded", text="CPython " + sys.version.split()[0])

    processes = None  # limit-nproc, and the hard limit that it came from

    def restrict(self, space, processes):
        """Take the limits of the vassal file before the application is loaded; workers inherit them."""
        import resource
        request.limits.update(space=space, processes=processes)

        def lower(kind, limit):
            hard = resource.getrlimit(kind)[1]
            return (limit if hard == resource.RLIM_INFINITY else min(limit, hard)), hard

        if space:
            limit, _ = lower(resource.RLIMIT_AS, space)
            with open("/proc/self/statm", "rb") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
            if used + ROOM > limit:  # without room the host itself would fail, at any place
                raise load.Failed("MemoryError", "the interpreter alone takes %d MiB, and some more to work" % (used >> 20))
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if processes:
            limit, hard = lower(resource.RLIMIT_NPROC, processes)
            self.processes = resource.setrlimit, resource.RLIMIT_NPROC, limit, hard
            resource.setrlimit(resource.RLIMIT_NPROC, (limit, hard))

    def settle(self):
        """After loading: the second folder, and no garbage collection ever looks at what all workers share."""
        if self.order["chdir2"]:
            try:
                os.chdir(self.order["chdir2"])
            except OSError as error:
                self.failed(load.Failed("chdir2", error.strerror))
                os._exit(1)
        gc.collect()
        gc.freeze()

    def failed(self, failure, slot=-1):
        self.say("failed", "slot", slot, "line", failure.line, kind=failure.kind, text=failure.text, file=failure.file)

    # Workers.

    def fork(self, slot, name=None):
        """Fork a worker. Return its slot in the worker, None in the host."""
        flush()
        reading, writing = os.pipe()
        pid = None
        try:
            if self.processes:
                # The kernel counts what the user has, vassald's threads and another generation too. The workers that were
                # ordered are not what limit-nproc is for, so it does not count while they are forked.
                setrlimit, kind, limit, hard = self.processes
                setrlimit(kind, (hard, hard))
                try:
                    pid = os.fork()
                finally:
                    setrlimit(kind, (limit, limit if pid == 0 else hard))
            else:
                pid = os.fork()
        except OSError as error:
            os.close(reading)
            os.close(writing)
            self.say("unforked", "slot", slot, text=error.strerror)
            return None
        if pid:
            os.close(reading)
            self.workers[pid] = slot, writing
            self.say("forked", "slot", slot, "pid", pid)
            return None
        os.close(writing)
        for _, other in self.workers.values():
            os.close(other)
        self.workers = {}
        self.lifeline = reading
        rename(name)
        return slot

    def work(self, slot):
        """Be the worker of a slot."""
        signals.set_wakeup_fd(-1)
        for fd in self.bells:
            os.close(fd)
        order = self.order
        self.number[0] = slot + 1
        row = self.board[slot * 8:slot * 8 + 8]
        for i in range(8):
            row[i] = 0
        row[worker.PID] = pid = os.getpid()
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        accept, numbers = self.listeners[0]._accept, order["listeners"]
        if len(numbers) > 1:
            accept, epoll = worker.any_of(self.listeners)
            numbers = numbers + [epoll]
        stop = worker.stopper(numbers, null)
        signals.signal(signals.SIGCHLD, signals.SIG_DFL)
        if order["lazy"]:
            signals.signal(signals.SIGTERM, signals.SIG_DFL)
            tie(self.lifeline, pid)
            if os.getppid() != self.pid:
                os._exit(1)
            try:
                self.app = load.application(order)
            except load.Failed as failure:
                self.failed(failure, slot)
                os._exit(1)
            untie(self.lifeline)
            self.settle()
        signals.signal(signals.SIGINT, nothing)
        signals.signal(signals.SIGHUP, nothing)
        signals.signal(signals.SIGTERM, stop)
        signals.signal(signals.SIGIO, bereaved(stop))
        signals.signal(signals.SIGURG, worker.expirer(row, null))
        # When the host ends, its end of the lifeline is closed and the kernel sends SIGIO.
        fcntl(self.lifeline, F_SETOWN, pid)
        fcntl(self.lifeline, F_SETFL, fcntl(self.lifeline, F_GETFL) | os.O_ASYNC)
        if os.getppid() != self.pid:
            bereaved(stop)(0, None)
        self.base["wsgi.errors"] = sys.stderr
        request.limit(order["timeout_ms"])
        child = []

        def forked():
            """A process that the application forks is no worker: it must neither accept nor speak for this one."""
            child.append(True)
            for listener in self.listeners:
                listener.close()
            for fd in (self.lifeline, self.control):
                try:
                    os.close(fd)
                except OSError:
                    pass
            signals.signal(signals.SIGTERM, signals.SIG_DFL)
            signals.signal(signals.SIGIO, signals.SIG_DFL)

        os.register_at_fork(after_in_child=forked)

        def active():
            row[worker.WATCHED] = 1
            self.say("active", "slot", slot)

        self.say("ready", "slot", slot, "pid", pid)
        wait = worker.waiter(order["listeners"][0])
        error = worker.serve(self.app, accept, wait, row, self.board, self.base, order["log"], active, child)
        leave(error, child)

    def reap(self):
        """Collect workers that have ended. The application's own children are not the host's to collect."""
        for pid in list(self.workers):
            try:
                ended, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                ended, status = pid, 0  # the application has collected it
            if ended:
                slot, lifeline = self.workers.pop(pid)
                self.retired.discard(pid)
                os.close(lifeline)
                held = ("held", 1) if self.board[slot * 8] in (worker.READING, worker.RUNNING) else ()
                for i in range(2):
                    self.board[slot * 8 + i] = 0
                self.say("exited", "slot", slot, "pid", pid, "status", status, *held)

    # Stopping.

    def stop(self, mercy):
        """Let the workers finish and end; mercy is in seconds. A second call can only shorten it."""
        now = monotonic()
        if not self.stopping:
            self.stopping, self.deadline, self.step, self.again = True, now + mercy, 0.01, now
            for listener in self.listeners:
                listener.close()
        self.deadline = min(self.deadline, now + mercy)

    def nudge(self):
        """Ask stopping workers again, kill them when their time is up, and return how long to wait, in milliseconds."""
        if not self.stopping and not self.retired:
            return None
        now = monotonic()
        if not self.stopping:
            if now >= self.again:
                for pid in self.retired:
                    os.kill(pid, signals.SIGTERM)
                self.again = now + self.step
                self.step = min(self.step * 1.5, 0.25)
            return max(1, int(1000 * (self.again - now)))
        if not self.workers:
            if self.alone and self.sweep(now):
                return 20
            self.say("stopped")
            os._exit(0)
        number = signals.SIGKILL if now >= self.deadline else signals.SIGTERM
        if now >= self.again or number == signals.SIGKILL:
            for pid in self.workers:
                os.kill(pid, number)
            self.again = now + self.step
            self.step = min(self.step * 1.5, 0.25)
        return max(1, int(1000 * (min(self.again, max(self.deadline, now + 0.01)) - now)))

    def orphaned(self):
        """Stop because vassald has gone. The signal that says so may come before the control socket does."""
        self.alone = True
        self.stop(HANGUP_MERCY)

    def abandoned(self, number, frame):
        """Take the signal that vassald has gone while the application is loaded."""
        if os.getpid() == self.pid:
            self.stop(HANGUP_MERCY)
            while self.sweep(monotonic()):
                sleep(0.02)
        os._exit(1)

    def sweep(self, now):
        """End what the application has started; vassald, who would do it, has gone. Return whether anything is left."""
        number = signals.SIGKILL if now >= self.deadline else signals.SIGTERM
        user, left = os.geteuid(), False
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == self.pid:
                continue
            try:
                if os.stat("/proc/" + name).st_uid != user:
                    continue
                process = os.pidfd_open(int(name))  # what is looked at afterwards is what is signalled
            except OSError:
                continue
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    state, _, group = file.read().rpartition(b")")[2].split()[:3]
                with open("/proc/%s/environ" % name, "rb") as file:
                    ours = int(group) == self.pid or self.mark in b"\0" + file.read(1 << 20)
                if ours and state not in b"ZX":
                    left = True
                    if number == signals.SIGKILL or name not in self.asked:
                        signals.pidfd_send_signal(process, number)
                    self.asked.add(name)
            except OSError:
                pass  # it has ended
            finally:
                os.close(process)
        return left and now < self.deadline + HANGUP_MERCY


def tie(fd, who):
    """Have the kernel kill a process, or a group, when the other end of a descriptor is closed or says something."""
    fcntl(fd, F_SETSIG, signals.SIGKILL)
    fcntl(fd, F_SETOWN, who)
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | os.O_ASYNC)


def untie(fd):
    """Undo tie."""
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~os.O_ASYNC)
    fcntl(fd, F_SETSIG, 0)


def bereaved(stop):
    """Return a signal handler for a worker whose host has ended: it stops, and has no more time than others have then."""
    def handler(number, frame):
        stop(number, frame)
        signals.signal(signals.SIGALRM, signals.SIG_DFL)
        signals.setitimer(signals.ITIMER_REAL, HANGUP_MERCY)
    return handler


def nothing(number, frame):
    """Take a signal that is for vassald alone."""


def leave(error, child):
    """End a worker: run what the application wants run at the end, and free nothing one by one."""
    if child:
        flush()
        os._exit(0)  # the application forked in a request and came back; its parent is the worker
    status = 0
    if error.errno not in worker.STOPPED:
        status = 1
        remedy = "; the application leaks descriptors, or raise the limit" if error.errno == errno.EMFILE else ""
        request.say("worker %d cannot accept: %s%s; it ends and is replaced\n" % (os.getpid(), error.strerror, remedy))
    import atexit
    if "threading" in sys.modules:
        try:
            sys.modules["threading"]._shutdown()
        except BaseException as failure:
            request.report(failure)
    atexit._run_exitfuncs()
    flush()
    os._exit(status)


def flush():
    """Write out what the application has printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, ValueError, OSError):
            pass  # closed by the application
