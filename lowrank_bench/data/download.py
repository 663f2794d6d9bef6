"""torchvision as a downloader: whole files or none."""

import io
import os
import socket
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

# torchvision's class for each name; also the folder it keeps idx files in
CLASSES = {
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}
TIMEOUT_S = 10  # per connection; without one a machine behind a silent firewall hangs for minutes


def download(name: str, into: Path) -> None:
    """Put the unpacked files of `name` below `into`, as torchvision lays them out.

    They arrive in a hidden folder beside their place, are checked there by torchvision (md5),
    and move when all are whole: a broken download never lies where a reader looks.

    Raises: OSError whose message is the reason, in one line.
    """
    try:
        import torchvision.datasets  # brings torch along, so never at the top of this file

        dataset = getattr(torchvision.datasets, CLASSES[name])
        into.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".download-", dir=into) as arrived, _quiet_and_impatient():
            dataset(arrived, download=True)
            _move(Path(arrived), into)
    except (OSError, RuntimeError, HTTPException, ImportError) as error:
        raise OSError(" ".join(str(error).split())) from None


def _move(source: Path, into: Path) -> None:
    for file in sorted(source.rglob("*")):
        if file.is_file() and file.suffix != ".gz":  # the archives were unpacked beside
            target = into / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)


@contextmanager
def _quiet_and_impatient():
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        socket.setdefaulttimeout(before)
