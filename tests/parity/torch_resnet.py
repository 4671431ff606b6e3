"""torchvision's ResNet state_dict names to ours, for the fixtures."""

import numpy as np

_LEAVES = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def diffcam_name(key: str, split: int = 10) -> str:
    """'shared.4.0.conv1.weight' -> 'trunk.layer1.0.conv1.weight'; after conv1 .. layer2 comes layer3, cut in two."""
    part, *rest = key.split(".")
    if part == "fc":
        return key
    index, tail = int(rest[0]), ".".join(rest[1:])
    if part == "shared":
        name = {0: "conv1", 1: "bn1", 4: "layer1", 5: "layer2"}.get(index, f"layer3.{index - 6}")
    else:
        name = "layer4" if index == 13 else f"layer3.{index + split}"
    return f"trunk.{name}.{tail}"


def variables(state_dict: dict[str, np.ndarray]) -> dict:
    """{"params", "batch_stats"} of a ResNet from torch arrays with torchvision names."""
    tree: dict = {"params": {}, "batch_stats": {}}
    for key, value in state_dict.items():
        if key.endswith("num_batches_tracked"):
            continue
        path = key.replace("downsample.0", "downsample_conv").replace("downsample.1", "downsample_bn").split(".")
        *path, leaf = path
        for i in range(1, 5):
            if f"layer{i}" in path:
                at = path.index(f"layer{i}")
                path[at : at + 2] = [f"layer{i}_{path[at + 1]}"]
        if value.ndim > 1:
            leaf, value = "kernel", value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        elif path[-1] != "fc":
            leaf = _LEAVES[leaf]
        node = tree["batch_stats" if leaf in ("mean", "var") else "params"]
        for name in path:
            node = node.setdefault(name, {})
        node[leaf] = value
    return tree
