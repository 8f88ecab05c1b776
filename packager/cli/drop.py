"""``splitflash drop``: bring an update into one device, or into several at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from packager.chip import BOOT_ADDRESS
from packager.cli.device import (
    ANY_DEVICES,
    BOOT0,
    DEVICE_LAYOUT,
    JSON,
    Door,
    device_layout,
    door,
    doors,
)
from packager.cli.report import Report
from packager.errors import PackagerError, SomeFailedError

if TYPE_CHECKING:
    from packager.dfu.pipe import Progress
    from packager.dfu.protocol import DfuSe
    from packager.dfu.several import Stop
    from packager.dfu.staging import Plan
    from packager.layout import Layout

NEXT = "unplug the device, set BOOT0 low, plug it in again; its loader then checks the update"
NEXT_FOR_LOADER = (
    "leave the device plugged in: it restarts by itself, checks the update and installs it"
)
NEXT_WITHOUT_LEAVE = "unplug the device and plug it in again; its loader then checks it"


EPILOG = """\b
With --json every line of the output is one object, {"type": ..., "data": ...}:
  task_begin     the command (device null), then each device
  task_progress  phase, done and total in bytes, percent
  info           kind, and a value of that name: staged or plan
  log            level and message
  task_end       result (success or fail), exit_code, error if there is one
The exit codes are listed by splitflash --help.
"""


@click.command(epilog=EPILOG)
@click.argument("update_path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@ANY_DEVICES
@click.option("--all", "every", is_flag=True, help="Drop to every device on USB, all at once.")
@DEVICE_LAYOUT
@click.option(
    "--dry-run", is_flag=True, help="Show what would be erased and written; change nothing."
)
@click.option(
    "--leave/--no-leave",
    default=None,
    help="Ask the device to restart afterwards: a loader always does and is asked unless you say"
    " no; not every ROM bootloader does, so it is asked only if you say so.",
)
@BOOT0
@JSON
def drop(
    update_path: Path,
    devices: tuple[str, ...],
    every: bool,
    layout_path: Path | None,
    dry_run: bool,
    leave: bool | None,
    boot0: bool | None,
    as_json: bool,
) -> None:
    """Bring an update into a device: compare, erase, write, read back.

    The device must be in its ROM bootloader (BOOT0 high, then plug it in) or, if it is
    read-protected, in its loader's own DFU (as its maker says, often: press reset twice). An
    interrupted drop is finished by dropping again. With several devices (--all, or --device
    several times) each gets a line of its own; if some fail, the others are finished and the exit
    code is 17.
    """
    from packager.update_file import read_update_file

    source = click.get_current_context().get_parameter_source("devices")
    if every and source is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--all takes every device on USB; leave out --device")
    report = Report("drop", as_json=as_json)
    with report.running(file=str(update_path)):
        update = read_update_file(update_path).data
        job = _Job(report, update, device_layout(layout_path), dry_run=dry_run, leave=leave)
        chosen = doors(()) if every else [door(name, boot0) for name in devices or (None,)]
        if len(chosen) == 1:
            job.drop_to(chosen[0])
        else:
            job.drop_to_each({one.name: one for one in chosen})


class _Job:
    """One update and what is to be done with it."""

    def __init__(
        self,
        report: Report,
        update: bytes,
        layout: Layout | None,
        *,
        dry_run: bool,
        leave: bool | None,
    ) -> None:
        from packager.update_file import default_stem

        self._report = report
        self._update, self._layout = update, layout
        self._name = default_stem(update)
        self._dry_run, self._leave = dry_run, leave
        self._next: set[str] = set()
        """What people do now, for the devices that took the update."""

    def drop_to(self, one: Door) -> None:
        """Drop to one device and tell everything about it."""
        with one.open() as dfu, self._report.running(dfu.where):
            with self._report.progress(dfu.where, dfu.clock) as progress:
                plan = self._stage(dfu, progress)
            self._tell(plan, dfu.where, alone=True)
            self._restart(dfu)
        if not self._dry_run:
            self._say_what_is_next()

    def drop_to_each(self, named: dict[str, Door]) -> None:
        """Drop to several devices at once, and sum up.

        Raises:
            SomeFailedError: not every one took it; the others did.
        """
        from packager.dfu.several import on_each

        with self._report.progress_of_each(named) as progress_of:

            def work(name: str, stop: Stop) -> Plan:
                with (
                    self._report.running(name),
                    progress_of(name) as progress,
                    named[name].open() as dfu,
                ):
                    plan = self._stage(dfu, stop.heeding(progress))
                    self._restart(dfu)
                    return plan

            outcomes = on_each(list(named), work)
        failed = []
        for name, outcome in outcomes.items():
            if isinstance(outcome, PackagerError):
                failed.append(f"{name} (exit code {outcome.exit_code})")
                self._report.say(f"failed: {_named(outcome, name)}", name)
            else:
                self._tell(outcome, name, alone=False)
        self._sum_up(len(named), failed)

    def _sum_up(self, total: int, failed: list[str]) -> None:
        done = total - len(failed)
        if not self._dry_run:
            self._report.say(f"{done} of {total} devices hold the update")
            if done:
                self._say_what_is_next()
        if failed:
            raise SomeFailedError(
                "drop",
                f"{len(failed)} of {total} devices failed: {', '.join(failed)}",
                "",
                "see above, then drop again: devices that hold the update are not written again",
            )

    def _stage(self, dfu: DfuSe, progress: Progress) -> Plan:
        from packager.dfu import staging

        plan = staging.prepare_drop(self._update, dfu, self._layout, progress)
        if not self._dry_run:
            staging.run_plan(plan, dfu, progress)
        return plan

    def _tell(self, plan: Plan, where: str, *, alone: bool) -> None:
        if self._dry_run:
            lines = [str(step) for step in plan.steps]
            lines.append("nothing was changed" if plan.steps else "the update is staged already")
            if not alone:
                lines = [f"{where}: {line}" for line in lines]
            self._report.info("plan", [step.as_dict() for step in plan.steps], lines, where)
            return
        done = "staged and read back" if plan.steps else "was staged already"
        value: dict[str, Any] = {"update": self._name, "was_staged_already": not plan.steps}
        self._report.info("staged", value, [f"{where}: {self._name} {done}"], where)

    def _restart(self, dfu: DfuSe) -> None:
        leave = dfu.is_loader if self._leave is None else self._leave
        if not dfu.is_loader:
            self._next.add(NEXT)
        else:
            self._next.add(NEXT_FOR_LOADER if leave else NEXT_WITHOUT_LEAVE)
        if leave and not self._dry_run:
            dfu.leave(BOOT_ADDRESS)

    def _say_what_is_next(self) -> None:
        if self._leave and NEXT in self._next:
            self._report.say("the device was told to restart; if it does not come back:")
        for steps in sorted(self._next):
            self._report.say(steps)


def _named(error: PackagerError, device: str) -> str:
    text = str(error)
    return text if text.startswith(device) else f"{device}: {text}"
