"""ResNet-50 on several processes.

Every rank runs the same plan, made for its own share of the batch:

    monet optimize examples/resnet50.py:resnet50 --input "float32[8,3,224,224]" --budget 50%
    torchrun --nproc-per-node=2 examples/train_ddp.py --plan examples/.monet/resnet50.plan.json
"""

from __future__ import annotations

import argparse
import os

import torch
from torch import distributed
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from resnet50 import resnet50


def main() -> None:
    parser = argparse.ArgumentParser(description="Train ResNet-50 on random images, data parallel.")
    parser.add_argument("--plan", help="plan that `monet optimize` wrote for one rank's batch")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8, help="images per rank")
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()

    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    device = torch.device("cuda" if on_gpu else "cpu")
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    rank = distributed.get_rank()

    torch.manual_seed(0)
    model = resnet50().to(device)
    if options.plan:
        import monet_torch

        monet_torch.apply(model, options.plan)
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    torch.manual_seed(rank)
    for step in range(options.steps):
        images = torch.randn(options.batch, 3, options.size, options.size, device=device)
        labels = torch.randint(1000, (options.batch,), device=device)
        optimizer.zero_grad()
        loss = F.cross_entropy(parallel(images), labels)
        loss.backward()
        optimizer.step()
        if rank == 0:
            print(f"step {step}: loss {loss.item():.4f}")

    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
