"""Tests of steps and helpers with real processes, most of which misbehave."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployctl.errors import Interrupted
from deployctl.system import process
from deployctl.system.command import Command
from deployctl.system.process import Completed, StepOutcome
from deployctl.system.process_tree import end_marked, identity, is_alive, send_signal, signal_marked
from tests.support.cli import wait_for_end
from tests.support.paths import ROOT
from tests.support.workers import wait_until

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


class Steps:
    """Runs steps in one directory with one marker and keeps their output."""

    def __init__(self, directory: Path, marker: str) -> None:
        self.directory = directory
        self.marker = marker
        self.output = b""

    def write(self, chunk: bytes) -> None:
        self.output += chunk

    def run(self, command: Command, timeout: float | None = 20.0, **options: Any) -> StepOutcome:
        stop, write = options.pop("stop", None), options.pop("write", self.write)
        facts = {"directory": str(self.directory), "env": ENV, **options}
        context = process.StepContext(marker=self.marker, timeout=timeout, **facts)
        return process.run_step(command, context, write=write, stop=stop)

    def running(self) -> set[int]:
        """Return the pids of the steps' processes that still run."""
        return signal_marked(self.marker, 0)


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    marker = uuid.uuid4().hex
    yield Steps(tmp_path, marker)
    end_marked(marker)


def wait_for_line(path: Path) -> str:
    """Wait until another process has written a file that ends with a newline; return its text."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return text.strip()
        time.sleep(0.01)
    raise AssertionError(f"{path} was not written")


def run_python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a separate interpreter, because it changes signal handlers or measures memory."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


# How a step is started


def test_a_step_succeeds_and_its_output_is_passed_on(steps: Steps) -> None:
    outcome = steps.run("echo to stdout; echo to stderr >&2")
    assert outcome == StepOutcome(
        0, duration=outcome.duration, output_bytes=20, tail="to stdout\nto stderr"
    )
    assert outcome.ok
    assert 0 < outcome.duration < 5
    assert steps.output == b"to stdout\nto stderr\n"


def test_output_is_passed_on_while_the_step_runs(steps: Steps) -> None:
    times = []
    steps.run("echo a; sleep 0.3; echo b", write=lambda _: times.append(time.monotonic()))
    assert len(times) == 2
    assert times[1] - times[0] > 0.2


@pytest.mark.parametrize("script", ["false; echo late", 'echo "$nowhere"; echo late'])
def test_a_script_stops_at_the_first_error_and_at_unset_variables(
    steps: Steps, script: str
) -> None:
    assert not steps.run(script).ok
    assert b"late" not in steps.output


def test_an_argument_list_is_run_without_a_shell(steps: Steps) -> None:
    assert steps.run(("printf", "%s|", "$HOME", "a b", ";")).tail == "$HOME|a b|;|"


def test_a_program_is_looked_up_in_the_path_of_the_step(steps: Steps) -> None:
    tool = steps.directory / "bin" / "my-tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho mine\n")
    tool.chmod(0o755)
    assert steps.run(("my-tool",), env={"PATH": str(tool.parent)}).tail == "mine"


def test_a_step_gets_exactly_the_given_environment_and_the_marker(steps: Steps) -> None:
    steps.run(("env",), env={**ENV, "A": "b"})
    first, marker, path = sorted(steps.output.decode().splitlines())
    assert (first, path) == ("A=b", f"PATH={ENV['PATH']}")
    assert marker.startswith(f"DEPLOYCTL_RUN={steps.marker}/")


def test_a_step_has_a_session_of_its_own_an_empty_stdin_and_the_umask_022(
    steps: Steps,
) -> None:
    outcome = steps.run("umask; cat; cut -d' ' -f6 /proc/$$/stat; echo $$", timeout=5)
    umask, session, pid = outcome.tail.splitlines()
    assert umask == "0022"
    assert session == pid


def test_a_step_starts_with_default_signals_whatever_its_caller_ignores_and_blocks() -> None:
    done = run_python(
        """
        import signal
        from deployctl.system.process import StepContext, run_step
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        outcome = run_step(
            ("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"),
            StepContext("/", {"PATH": "/usr/bin:/bin"}, "default-signals", timeout=10),
            write=lambda _: None,
        )
        print(outcome.tail)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        """
    )
    _, blocked, _, ignored = done.stdout.split()
    named = range(1, 32)  # higher ones are real-time signals, some of them used by the C library
    kept = int(blocked, 16) | int(ignored, 16)
    assert [number for number in named if kept & 1 << (number - 1)] == []


def test_a_step_may_be_run_in_another_thread() -> None:
    done = run_python(
        """
        import signal, threading
        from deployctl.system.process import StepContext, run_step
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        context = StepContext("/", {}, "thread", timeout=10)
        run = lambda: run_step(":", context, write=lambda _: None)
        thread = threading.Thread(target=lambda: print(run().describe()))
        thread.start()
        thread.join()
        """
    )
    assert (done.stdout, done.stderr) == ("exit code 0\n", "")


def test_a_step_inherits_no_open_file_so_a_lock_ends_with_its_holder(steps: Steps) -> None:
    lock = os.open(steps.directory / "lock", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(lock, True)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert steps.run("sleep 30 &").ok
    os.close(lock)
    with (steps.directory / "lock").open() as reopened:
        fcntl.flock(reopened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert steps.running()


# How a step fails


def test_an_exit_code_is_reported(steps: Steps) -> None:
    outcome = steps.run("echo why >&2; exit 3")
    assert (outcome.exit_code, outcome.signal, outcome.tail) == (3, None, "why")
    assert outcome.describe() == "exit code 3"


def test_the_signal_that_ended_a_step_is_reported(steps: Steps) -> None:
    outcome = steps.run("kill -9 $$")
    assert (outcome.exit_code, outcome.signal, outcome.ok) == (None, "SIGKILL", False)
    assert outcome.describe() == "killed by SIGKILL"


def test_the_signal_that_ended_a_command_of_a_script_is_reported(steps: Steps) -> None:
    assert steps.run("sh -c 'kill -9 $$'; true").describe() == "exit code 137: 128 + SIGKILL"


def test_the_path_is_reported_if_a_script_calls_an_unknown_command(steps: Steps) -> None:
    outcome = steps.run("no-such-command")
    assert outcome.describe() == f"exit code 127: command not found (PATH was {ENV['PATH']})"
    assert "no-such-command" in outcome.tail


@pytest.mark.parametrize(
    ("argv", "phrase", "tail"),
    [
        (
            ("no-such-command", "x"),
            "exit code 127: command not found (PATH was /usr/local/bin:/usr/bin:/bin)",
            "no-such-command: command not found (PATH was /usr/local/bin:/usr/bin:/bin)",
        ),
        (
            ("/no/such/command",),
            "exit code 127: no such program, or no such interpreter",
            "/no/such/command: no such program, or no such interpreter",
        ),
        (("/etc/passwd",), "exit code 126: not executable", "/etc/passwd: not executable"),
        (
            ("true", "x" * 200_000),
            "exit code 126: Argument list too long",
            "true: Argument list too long",
        ),
    ],
)
def test_a_command_that_cannot_start_fails_as_in_a_shell(
    steps: Steps, argv: tuple[str, ...], phrase: str, tail: str
) -> None:
    outcome = steps.run(argv)
    assert (outcome.describe(), outcome.tail) == (phrase, tail)
    assert steps.output.decode() == f"{tail}\n"


def test_a_missing_execute_permission_is_reported(steps: Steps) -> None:
    assert steps.run("/etc/passwd").describe() == "exit code 126: not executable"


def test_a_missing_working_directory_fails_the_step(steps: Steps) -> None:
    outcome = steps.run("true", directory="/no/such/directory")
    reason = "cannot enter /no/such/directory: No such file or directory"
    assert (outcome.exit_code, outcome.tail) == (126, reason)
    assert outcome.describe() == f"exit code 126: {reason}"


# How the processes of a step are ended


def test_a_step_that_ignores_sigterm_is_killed_at_its_deadline(steps: Steps) -> None:
    outcome = steps.run("trap '' TERM; echo stubborn; while :; do sleep 1; done", timeout=0.3)
    assert (outcome.timed_out, outcome.exit_code, outcome.signal) == (True, None, "SIGKILL")
    assert outcome.describe() == "timed out after 0.3s"
    assert outcome.tail == "stubborn"
    assert 2 < outcome.duration < 4
    assert not steps.running()


def test_children_may_clean_up_before_they_are_killed(steps: Steps) -> None:
    clean = "trap 'sleep 0.4; echo cleaned; exit' TERM; while :; do sleep 0.05; done"
    outcome = steps.run(f'sh -c "{clean}" & wait', timeout=0.3)
    assert outcome.timed_out
    assert outcome.tail.splitlines()[-1] == "cleaned"
    assert outcome.duration < 2


def test_processes_in_another_session_may_clean_up_too(steps: Steps) -> None:
    clean = "trap 'sleep 0.2; echo cleaned >note; exit' TERM; while :; do sleep 0.05; done"
    assert steps.run(f'setsid sh -c "{clean}" & sleep 60', timeout=0.3).timed_out
    assert wait_for_line(steps.directory / "note") == "cleaned"


ESCAPE = "setsid sh -c 'trap \"\" TERM; (sleep 60 & echo $$ >escaped; exec sleep 60)' & "


def test_a_process_in_another_session_is_ended_after_a_timeout(steps: Steps) -> None:
    assert steps.run(f"{ESCAPE} sleep 60", timeout=0.5).timed_out
    assert wait_for_line(steps.directory / "escaped")
    assert not steps.running()


def test_a_process_in_another_session_is_ended_after_a_failure(steps: Steps) -> None:
    outcome = steps.run(f"{ESCAPE} while ! [ -s escaped ]; do sleep 0.01; done; exit 3")
    assert outcome.describe() == "exit code 3"
    assert not steps.running()


def test_a_child_without_the_marker_is_ended_with_the_group(steps: Steps) -> None:
    stubborn = "trap '' TERM; echo $$ >child; while :; do sleep 1; done"
    assert steps.run(f'env -i sh -c "{stubborn.replace("$", chr(92) + "$")}" & wait', 0.5).timed_out
    wait_for_end(int(wait_for_line(steps.directory / "child")))


def test_an_exception_of_the_write_function_ends_the_tree_and_is_raised(steps: Steps) -> None:
    def write(chunk: bytes) -> None:
        written.append(chunk)
        raise Interrupted("SIGTERM")

    written: list[bytes] = []
    with pytest.raises(Interrupted):
        steps.run("trap 'echo bye; exit' TERM; setsid sleep 60 & echo go; wait", write=write)
    assert written == [b"go\n"]
    assert not steps.running()


def test_an_exception_of_a_signal_handler_ends_the_tree_and_is_raised(steps: Steps) -> None:
    done = run_python(
        """
        import os, signal, sys
        from deployctl.errors import Interrupted
        from deployctl.system.process import StepContext, run_step

        def interrupt(number, frame):
            raise Interrupted(signal.Signals(number).name)

        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            context = StepContext("/", {"PATH": "/usr/bin:/bin"}, sys.argv[1], timeout=50)
            script = "trap 'exit 0' TERM; setsid sleep 60 & sleep 60 & wait"
            run_step(script, context, write=lambda _: None)
        except Interrupted as interrupted:
            print("ended by", interrupted)
        """,
        steps.marker,
    )
    assert (done.stdout, done.stderr) == ("ended by SIGALRM\n", "")
    assert not steps.running()


def test_a_signal_at_any_time_during_the_start_leaves_no_process(steps: Steps) -> None:
    done = run_python(
        """
        import os, signal, sys, threading
        from deployctl.errors import Interrupted
        from deployctl.system.process import StepContext, run_step

        def interrupt(number, frame):
            raise Interrupted(signal.Signals(number).name)

        signal.signal(signal.SIGTERM, interrupt)
        ended = 0
        for step in range(150):
            try:
                timer = threading.Timer(step * 0.00002, os.kill, (os.getpid(), signal.SIGTERM))
                timer.start()
                context = StepContext("/", {"PATH": "/usr/bin:/bin"}, sys.argv[1], timeout=50)
                run_step("sleep 60", context, write=lambda _: None)
            except Interrupted:
                ended += 1
        print(ended)
        """,
        steps.marker,
    )
    assert (done.stdout, done.stderr) == ("150\n", "")
    assert not steps.running()


# What a step leaves behind


def test_a_daemon_that_holds_the_output_open_is_not_waited_for(steps: Steps) -> None:
    outcome = steps.run("sleep 30 & echo started")
    assert (outcome.ok, outcome.tail) == (True, "started")
    assert outcome.duration < 2
    assert len(steps.running()) == 1


def test_a_daemon_is_not_ended_when_a_later_step_fails(steps: Steps) -> None:
    assert steps.run("sleep 30 &").ok
    daemon = steps.running()
    assert not steps.run("sleep 30 & exit 1").ok
    assert steps.running() == daemon


def test_a_daemon_that_keeps_printing_survives_a_successful_step(steps: Steps) -> None:
    steps.run("(while :; do echo chatter; echo x >>printed; sleep 0.02; done) & echo started")
    printed = steps.directory / "printed"
    time.sleep(0.3)
    before = printed.stat().st_size
    time.sleep(0.5)
    assert printed.stat().st_size > before
    assert end_marked(steps.marker) >= 1


def test_a_daemon_with_much_output_delays_no_step_and_is_never_blocked(steps: Steps) -> None:
    outcome = steps.run("(head -c 50000000 /dev/zero; echo done >flooded) & echo started")
    assert outcome.duration < 2
    assert wait_for_line(steps.directory / "flooded") == "done"


def test_the_process_that_discards_a_daemons_output_ends_with_the_daemon(steps: Steps) -> None:
    steps.run("readlink /proc/$$/fd/1; sleep 30 &")
    pipe = steps.output.decode().strip()
    assert len(holders(pipe)) == 2
    end_marked(steps.marker)
    until = time.monotonic() + 5
    while holders(pipe) and time.monotonic() < until:
        time.sleep(0.01)
    assert not holders(pipe)


def holders(pipe: str) -> set[str]:
    """Return the pids of the processes that have a pipe open."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(link) == pipe:
                found.add(link.parts[2])
    return found


# The output of a step


def test_a_gigabyte_of_output_without_a_newline_takes_little_memory() -> None:
    done = run_python(
        """
        import re
        from deployctl.system.process import StepContext, run_step
        context = StepContext("/", {"PATH": "/usr/bin:/bin"}, "gigabyte", timeout=50)
        outcome = run_step("head -c 1073741824 /dev/zero | tr '\\\\0' x", context, write=len)
        peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
        print(outcome.ok, outcome.output_bytes, len(outcome.tail), peak < 40 * 1024)
        """
    )
    assert (done.stdout, done.stderr) == ("True 1073741824 4096 True\n", "")


def test_all_output_is_passed_on_although_the_step_ends_at_once(steps: Steps) -> None:
    assert steps.run("head -c 300000 /dev/zero").output_bytes == 300_000 == len(steps.output)


def test_a_full_disk_does_not_disturb_the_step(steps: Steps) -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        outcome = steps.run("echo one; sleep 0.1; echo two", write=full.write)
    assert (outcome.ok, outcome.tail, outcome.output_bytes) == (True, "one\ntwo", 8)


def test_output_need_not_be_utf_8(steps: Steps) -> None:
    assert steps.run(r"printf 'gr\374n \303\274\n'").tail == "gr\\xfcn ü"
    assert steps.output == b"gr\xfcn \xc3\xbc\n"


def test_the_tail_is_the_last_twenty_lines(steps: Steps) -> None:
    wanted = "\n".join(str(number) for number in range(81, 101))
    assert steps.run("seq 100").tail == wanted


def test_the_tail_is_whole_lines_of_the_last_four_kibibytes(steps: Steps) -> None:
    outcome = steps.run("for n in 1 2 3; do printf '%01999d\\n' $n; done")
    assert [len(line) for line in outcome.tail.splitlines()] == [1999, 1999]


# Markers and identities


@pytest.fixture
def sleeper(steps: Steps) -> Iterator[subprocess.Popen[bytes]]:
    env = {**ENV, "DEPLOYCTL_RUN": steps.marker}
    with subprocess.Popen(["sleep", "60"], env=env, start_new_session=True) as child:
        # It takes a short time after Popen has returned until /proc shows the new environment.
        wait_until(lambda: bool(Path(f"/proc/{child.pid}/environ").read_bytes()))
        yield child
        child.kill()


def test_processes_with_the_marker_are_ended_and_counted(
    steps: Steps, sleeper: subprocess.Popen[bytes]
) -> None:
    assert end_marked(f"{steps.marker}0") == 0
    assert end_marked(steps.marker[:-1]) == 0
    assert end_marked(steps.marker) == 1
    assert sleeper.wait() == -signal.SIGKILL
    assert end_marked(steps.marker) == 0


def test_a_process_with_the_marker_does_not_end_itself(steps: Steps) -> None:
    code = (
        "import sys; from deployctl.system.process_tree import end_marked; "
        "print(end_marked(sys.argv[1]))"
    )
    done = run_python(code, steps.marker, env={**os.environ, "DEPLOYCTL_RUN": steps.marker})
    assert (done.returncode, done.stdout) == (0, "0\n")


def test_this_process_is_alive() -> None:
    assert identity() == identity(os.getpid())
    assert is_alive(identity())


def test_a_process_with_parentheses_in_its_name_is_identified(tmp_path: Path) -> None:
    program = tmp_path / "a) R (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "60"]) as child:
        assert is_alive(identity(child.pid))
        child.kill()


def test_a_zombie_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    target = identity(sleeper.pid)
    assert is_alive(target)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(target)
    assert not send_signal(target, signal.SIGTERM)
    sleeper.wait()
    assert not is_alive(target)
    assert not send_signal(target, signal.SIGTERM)


def test_a_process_that_is_gone_has_no_identity(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    sleeper.wait()
    with pytest.raises(ProcessLookupError, match=f"^no process {sleeper.pid}$"):
        identity(sleeper.pid)


def test_another_process_with_the_same_pid_gets_no_signal(sleeper: subprocess.Popen[bytes]) -> None:
    target = identity(sleeper.pid)
    for other in (
        replace(target, started=target.started - 1),
        replace(target, boot_id="another boot"),
    ):
        assert not is_alive(other)
        assert not send_signal(other, signal.SIGKILL)
    assert sleeper.poll() is None
    assert send_signal(target, signal.SIGTERM)
    assert sleeper.wait() == -signal.SIGTERM


# Helpers


def run(*argv: str, timeout: float = 20.0, **options: Any) -> Completed:
    return process.run(argv, env=options.pop("env", ENV), timeout=timeout, **options)


def test_exit_code_stdout_and_stderr_of_a_helper_are_returned(tmp_path: Path) -> None:
    done = run("sh", "-c", "pwd; umask; echo oops >&2; exit 3", cwd=str(tmp_path))
    assert done == Completed(3, f"{tmp_path}\n0077\n".encode(), b"oops\n")


def test_a_helper_reads_the_given_input_or_an_empty_stdin() -> None:
    assert run("cat", input=b"x" * 1_000_000).stdout == b"x" * 1_000_000
    assert run("cat").stdout == b""


def test_a_helper_gets_exactly_the_given_environment_and_a_marker() -> None:
    this_process = identity()
    assert run("env", env={"PATH": ENV["PATH"], "A": "b"}).stdout.split() == [
        f"PATH={ENV['PATH']}".encode(),
        b"A=b",
        f"DEPLOYCTL_RUN=helper-{this_process.pid}-{this_process.started}".encode(),
    ]


def test_a_helper_that_is_not_found_has_exit_code_127() -> None:
    message = b"no-such-helper: command not found (PATH was /usr/local/bin:/usr/bin:/bin)\n"
    assert run("no-such-helper") == Completed(127, b"", message)


def test_a_helper_is_ended_with_its_group_at_the_deadline(tmp_path: Path) -> None:
    script = "sleep 60 & echo $! >child; echo partial; wait"
    done = run("sh", "-c", script, cwd=str(tmp_path), timeout=0.5)
    assert done == Completed(-signal.SIGTERM, b"partial\n", b"", timed_out=True)
    wait_for_end(int((tmp_path / "child").read_text()))


def test_a_helper_is_ended_with_its_group_when_its_caller_is_interrupted(tmp_path: Path) -> None:
    done = run_python(
        """
        import signal, sys
        from deployctl.errors import Interrupted
        from deployctl.system.process import run

        def interrupt(number, frame):
            raise Interrupted("SIGALRM")

        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        try:
            run(["sh", "-c", "sleep 60 & echo $! >child; wait"], cwd=sys.argv[1],
                env={"PATH": "/usr/bin:/bin"}, timeout=50)
        except Interrupted as interrupted:
            print("ended by", interrupted)
        """,
        str(tmp_path),
    )
    assert (done.stdout, done.stderr) == ("ended by SIGALRM\n", "")
    wait_for_end(int((tmp_path / "child").read_text()))


def test_the_end_of_a_helpers_stderr_is_kept() -> None:
    done = run("sh", "-c", "head -c 200000 /dev/zero >&2; echo last >&2")
    assert len(done.stderr) == 64 * 1024
    assert done.stderr.endswith(b"\0last\n")


def test_more_than_64_mib_of_a_helpers_output_are_a_failure() -> None:
    wanted = Completed(1, b"", b"more than 64 MiB of output\n")
    assert run("head", "-c", "70000000", "/dev/zero") == wanted


def test_a_helper_that_leaves_a_daemon_is_not_waited_for() -> None:
    began = time.monotonic()
    assert run("sh", "-c", "sleep 3 & echo done").stdout == b"done\n"
    assert time.monotonic() - began < 2


# Commands as text


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (("npm", "run", "it all"), "npm run 'it all'"),
        ("cd app\nnpm ci", "cd app\nnpm ci"),
    ],
)
def test_a_command_is_shown_as_a_person_would_type_it(command: Command, shown: str) -> None:
    assert process.command_text(command) == shown
