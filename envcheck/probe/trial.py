"""What every trial is given: torch, the job, the channel, and the device that it works on."""

from __future__ import annotations

from typing import Any, Dict, Optional


class Skip(Exception):
    """This trial cannot run here. ``not_applicable``: the chip or the system has no such thing."""

    def __init__(self, why: str, not_applicable: bool = False) -> None:
        super().__init__(why)
        self.not_applicable = not_applicable


class Trial:
    """One trial on one device. ``cuda`` False is the rehearsal: operations are emulated on the CPU.

    ``plant`` names the fault to plant (rehearsal only); ``rng`` yields CPU tensors from the job's seed alone.
    """

    def __init__(self, torch: Any, channel: Any, job: Dict[str, Any]) -> None:
        self.torch = torch
        self.channel = channel
        self.job = job
        self.cuda = job.get("device") != "cpu"
        self.seed = int(job.get("seed", 0))
        self.quick = bool(job.get("quick", False))
        self.plant: Optional[str] = job.get("plant")
        self.ordinal = int(job["device"]) if self.cuda else 0
        self.device = self.place(self.ordinal) if self.cuda else torch.device("cpu")
        self.rng = torch.Generator()
        self.rng.manual_seed(self.seed)

    @property
    def capability(self) -> tuple:  # type: ignore[type-arg]  # Python 3.8 has no tuple[int, int]
        """Compute capability (major, minor); (0, 0) in a rehearsal."""
        return tuple(self.torch.cuda.get_device_capability(self.ordinal)) if self.cuda else (0, 0)

    def place(self, ordinal: int) -> Any:
        """The device of CUDA's ordinal."""
        return self.torch.device("cuda", ordinal)

    def stage(self, name: str) -> None:
        self.channel.stage(name)

    def facts(self, **items: Any) -> None:
        self.channel.facts(**items)

    def start_cuda(self) -> None:
        """cuInit and a context, each under its own stage; no-op in a rehearsal."""
        if not self.cuda:
            return
        from . import driver

        self.stage("cuInit")
        driver.initialise()
        self.stage("creating the CUDA context")
        self.torch.cuda.set_device(self.ordinal)
        self.torch.cuda.init()
        self.torch.zeros(1, device=self.device)
        self.sync()

    def sync(self) -> None:
        if self.cuda:
            self.torch.cuda.synchronize(self.ordinal)

    def normal(self, *shape: int) -> Any:
        """N(0, 1) in float32 on the CPU. Zero mean: U(0, 1) would hide TF32's error."""
        return self.torch.randn(*shape, generator=self.rng)

    def signs(self, *shape: int) -> Any:
        """Entries -1, 0, 1 in float32 on the CPU."""
        return self.torch.randint(-1, 2, shape, generator=self.rng).to(self.torch.float32)

    def free_memory(self) -> int:
        """Free bytes of the device; a rehearsal pretends to have 1 GiB."""
        if not self.cuda:
            return 1 << 30
        return int(self.torch.cuda.mem_get_info(self.ordinal)[0])

    def pick(self, seed_offset: int, high: int) -> int:
        """A reproducible integer in [0, high) that does not disturb ``rng``."""
        generator = self.torch.Generator()
        generator.manual_seed(self.seed * 1000003 + seed_offset)
        return int(self.torch.randint(0, high, (1,), generator=generator).item())
