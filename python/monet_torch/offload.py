"""Host memory for what a plan offloads: a storage goes there after it is made and comes back before it is needed.

On CUDA both ways run on streams of their own, from and to pinned buffers, and the stream that computes waits for them:
before the device memory of what has gone is used again, and before what has come back is read. On the CPU the same
code copies at once, to memory that PyTorch's allocator knows nothing of.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(eq=False)
class Buffer:
    """Host memory, as bytes; `idle` is the end of the last copy that used it (None: it has ended)."""

    bytes: Tensor
    pinned: bool
    idle: torch.cuda.Event | None = None


class Host:
    """Buffers, which are kept from step to step because pinning is slow, and the two streams of each device."""

    def __init__(self) -> None:
        self.free: list[Buffer] = []
        self.lent = 0
        self._streams: dict[torch.device, tuple[torch.cuda.Stream, torch.cuda.Stream]] = {}

    def take(self, size: int, device: torch.device) -> Buffer:
        """A buffer of at least `size` bytes: the smallest that is free, else a new one in place of a smaller one."""
        pinned = device.type == "cuda"
        large = [b for b in self.free if b.bytes.numel() >= size and b.pinned == pinned]
        if large:
            found = min(large, key=lambda b: b.bytes.numel())
            self.free.remove(found)
        else:
            if self.free:
                self.free.remove(max(self.free, key=lambda b: b.bytes.numel()))
            if pinned:
                found = Buffer(torch.empty(size, dtype=torch.uint8, pin_memory=True), pinned)
            else:
                found = Buffer(torch.frombuffer(mmap.mmap(-1, size), dtype=torch.uint8), pinned)
        self.lent += 1
        return found

    def give(self, buffer: Buffer) -> None:
        self.lent -= 1
        self.free.append(buffer)

    def copy(self, to: Tensor, source: Tensor, device: torch.device, back: bool, buffer: Buffer) -> None:
        """Copy once the device has computed up to here and `buffer` is idle; it is idle again when this has ended."""
        if device.type != "cuda":
            to.copy_(source)
            return
        if device not in self._streams:
            self._streams[device] = (_stream(device), _stream(device))
        stream = self._streams[device][int(back)]
        stream.wait_stream(torch.cuda.current_stream(device))
        if buffer.idle is not None:
            stream.wait_event(buffer.idle)
        with torch.cuda.stream(stream):
            to.copy_(source, non_blocking=True)
        buffer.idle = stream.record_event()


class Parcel:
    """One storage on its way to the host, there, or on its way back."""

    __slots__ = ("buffer", "busy", "device", "dtype", "host", "made_on", "offset", "shape", "size", "stride")

    def __init__(self, host: Host, tensor: Tensor) -> None:
        """Sends the whole storage of `tensor` off; it must not be written any more."""
        self.host, self.device, self.dtype = host, tensor.device, tensor.dtype
        self.shape, self.stride, self.offset = tensor.shape, tensor.stride(), int(tensor.storage_offset())
        self.size = tensor.untyped_storage().nbytes()
        self.made_on: torch.cuda.Stream | None = None  # whose memory it is: freed, it is used by that stream again
        self.buffer: Buffer | None = None
        self.busy: Tensor | None = None  # device memory that a copy may still use
        self.buffer = host.take(self.size, self.device)
        self._uses(tensor)
        host.copy(self.buffer.bytes[: self.size], _bytes_of(tensor), self.device, False, self.buffer)

    @property
    def coming(self) -> bool:
        """Has it been sent for, or is it on the device still?"""
        return self.busy is not None

    def wait(self) -> Tensor | None:
        """Let what is computed from here on run after the copy; returns the device memory that the copy used."""
        busy, self.busy = self.busy, None
        if busy is not None and self.buffer is not None and self.buffer.idle is not None:
            for stream in (torch.cuda.current_stream(self.device), self.made_on):
                if stream is not None:
                    stream.wait_event(self.buffer.idle)
        return busy

    def _uses(self, memory: Tensor) -> None:
        self.busy = memory
        if self.device.type == "cuda":
            self.made_on = torch.cuda.current_stream(self.device)

    def fetch(self) -> None:
        """Take device memory and send for what was there."""
        assert self.buffer is not None
        with torch.no_grad():
            memory = torch.empty(self.size, dtype=torch.uint8, device=self.device)
            self.host.copy(memory, self.buffer.bytes[: self.size], self.device, True, self.buffer)
            tensor = torch.empty(0, dtype=self.dtype, device=self.device)
            self._uses(tensor.set_(memory.untyped_storage(), self.offset, self.shape, self.stride))

    def arrive(self) -> Tensor:
        """The tensor, as it was sent off."""
        if self.busy is None:
            self.fetch()
        tensor = self.wait()
        assert tensor is not None
        self._give_buffer()
        return tensor

    def __del__(self) -> None:
        self.wait()
        self._give_buffer()

    def _give_buffer(self) -> None:
        buffer, self.buffer = self.buffer, None
        if buffer is not None:
            self.host.give(buffer)


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _bytes_of(tensor: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())
