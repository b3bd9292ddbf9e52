"""The model as VP²'s planners ask for it (Tian et al., ICLR 2023: a benchmark of video prediction for control).

Shapes: B clips, T0 context frames, H x W pixels in [0, 1], S steps, A numbers of an action.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mirage_pl.ivideogpt.model.rollout import imagine


class VideoPredictor:
    """A callable from videos and actions to videos.

    Args:
        module: of a trained world model: ``load_trained(RUN, "auto").module``.
        at_once: clips that are imagined at a time; as published 100.

    Attributes:
        num_context: T0; a video has as many frames.
        base_prediction_modality: what is predicted.
    """

    base_prediction_modality = "rgb"

    def __init__(self, module: Any, at_once: int = 100) -> None:
        self.net, self.device, self.at_once = module.net, module.device, at_once
        self.num_context: int = self.net.context_length

    def __call__(self, batch: Mapping[str, Any], grad_enabled: bool = False) -> dict[str, NDArray[np.float32]]:
        """Predict.

        Args:
            batch: ``video`` [B, T0, H, W, 3], ``actions`` [B, S, A]: the first T0 - 1 led through the context.
            grad_enabled: refused: codes have no gradients.

        Returns:
            ``rgb`` [B, S, H, W, 3]: all frames but the first, those of the context as they were given.

        Raises:
            ValueError: a video or actions of another shape than the model's, or gradients are asked for.
        """
        if grad_enabled:
            raise ValueError("frames are chosen by codes, which have no gradients; use a planner without, such as CEM")
        video, actions = (torch.from_numpy(np.asarray(batch[key])).float() for key in ("video", "actions"))
        side = self.net.tokenizer.sizes.resolution
        if video.shape[1:] != (self.num_context, side, side, 3):
            raise ValueError(f"video has shape {list(video.shape)}, not [B, {self.num_context}, {side}, {side}, 3]")
        if actions.shape[2] != self.net.action_dim or actions.shape[1] < self.num_context:
            raise ValueError(
                f"actions have shape {list(actions.shape)}; this model takes {self.num_context} or more, each of "
                f"{self.net.action_dim} number(s)"
            )
        parts = zip(video.split(self.at_once), actions.split(self.at_once), strict=True)
        return {"rgb": np.concatenate([self.predict(*part) for part in parts])}

    def predict(self, video_BTHWC: torch.Tensor, actions_BSA: torch.Tensor) -> NDArray[np.float32]:
        """Predict some clips."""
        context_BTCHW = video_BTHWC.permute(0, 1, 4, 2, 3).to(self.device)
        actions_BFA = actions_BSA[:, self.num_context - 1 :].to(self.device)
        clips = imagine(self.net, context_BTCHW, actions_BFA.shape[1], actions_BFA)
        frames_BSCHW = torch.cat((context_BTCHW[:, 1:], clips.frames_BFCHW), 1)
        frames: NDArray[np.float32] = frames_BSCHW.permute(0, 1, 3, 4, 2).float().cpu().numpy()
        return frames

    def close(self) -> None:
        """Nothing is open."""
