"""GPT-2 small, its parameters spread over several processes (FSDP2), one plan for all of its blocks.

Blocks are alike, so one plan made for one block serves them all:

    monet optimize examples/gpt2.py:Block --kwargs '{"width": 768, "heads": 12, "dropout": 0.1}' \
        --input "float32[2,256,768]" --budget 60%
    torchrun --nproc-per-node=2 examples/train_fsdp.py --plan examples/.monet/gpt2.Block.plan.json
"""

from __future__ import annotations

import argparse
import os

import torch
from torch import distributed
from torch.distributed.fsdp import fully_shard

from gpt2 import GPT


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a GPT-2-small-shaped decoder on random tokens, sharded.")
    parser.add_argument("--plan", help="plan that `monet optimize` wrote for one block")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2, help="sequences per rank")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--layers", type=int, default=12)
    options = parser.parse_args()

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    device = torch.device("cuda" if on_gpu else "cpu")
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    rank = distributed.get_rank()

    torch.manual_seed(0)
    model = GPT(layers=options.layers).to(device)
    for block in model.blocks:
        if options.plan:
            import monet_torch

            monet_torch.apply(block, options.plan)
        fully_shard(block)
    fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)

    torch.manual_seed(rank)
    for step in range(options.steps):
        tokens = torch.randint(50257, (options.batch, options.length + 1), device=device)
        optimizer.zero_grad()
        loss = model(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        optimizer.step()
        if rank == 0:
            print(f"step {step}: loss {loss.item():.4f}")

    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
