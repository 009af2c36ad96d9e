"""CLIP, written to be read. Source: Radford et al., Learning Transferable Visual Models From Natural Language, 2021.

Two towers turn images and texts into vectors of one space, and a learned temperature turns their cosines into logits:

    image (B, 3, S, S) ──patches──▶ (B, 1+P, W) ──blocks──▶ class token  ──proj──▶ (B, E) ┐
                                                                                        ├─▶ exp(scale) * cosine + bias
    text  (B, L) ──embedding──▶ (B, L, W) ──causal blocks──▶ end of text ──proj──▶ (B, E) ┘

B batch, S side in pixels, P patches, L tokens, W width of a tower, H heads, D = W / H, E shared dimension.

The weights have the names of OpenAI's and open_clip's ViT models, so that checkpoints load both ways. Imports torch.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from clipbench.training.clip.config import ClipConfig, Tower

LARGEST_LOGIT_SCALE = 100.0


class CLIP(nn.Module):
    """An image tower, a text tower, and the temperature (and bias) between their unit vectors.

    As in OpenAI's code, the text tower is not a module of its own: its parts are attributes, like ``visual``.
    """

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        width = config.text.width
        self.visual = ImageTower(config)
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, width))
        self.transformer = Transformer(config.text, quick_gelu=config.quick_gelu, is_causal=True)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, config.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(config.init_logit_scale))
        bias = config.init_logit_bias
        self.logit_bias = None if bias is None else nn.Parameter(torch.tensor(bias))
        self.initialize_text_tower()

    def encode_image(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B E"]:
        """Return one raw vector per image. Normalize it before taking cosines."""
        return self.visual(pixels)

    def encode_text(self, tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B E"]:
        """Return one raw vector per text, taken at its end-of-text token: the largest id of each row.

        No token attends to a later one, so padding has no effect: rows may be padded with any smaller id, and cut to
        the longest text of the batch.
        """
        x = self.token_embedding(tokens)  # (B, L, W)
        x = x + self.positional_embedding[: tokens.shape[1]]
        x = self.transformer(x)
        ends = x[torch.arange(x.shape[0], device=x.device), tokens.argmax(dim=-1)]  # (B, W)
        return self.ln_final(ends) @ self.text_projection

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keep the logit scale between 1 and 100, which the paper found necessary for stability."""
        self.logit_scale.clamp_(0, math.log(LARGEST_LOGIT_SCALE))

    def initialize_text_tower(self) -> None:
        """Draw the text tower's weights as OpenAI's code does. The blocks of the image tower keep torch's defaults."""
        width, layers = self.config.text.width, self.config.text.layers
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        for block in self.transformer.resblocks:
            assert isinstance(block, TransformerBlock)
            # Each block adds two branches to the residual stream; scaling their last weights keeps its variance.
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=width**-0.5 * (2 * layers) ** -0.5)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=width**-0.5 * (2 * layers) ** -0.5)
        nn.init.normal_(self.text_projection, std=width**-0.5)


class ImageTower(nn.Module):
    """A vision transformer that pools at a learned class token in front of the patches."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        width, patch = config.vision.width, config.patch_size
        n_patches = (config.image_size // patch) ** 2
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(1 + n_patches, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(config.vision, quick_gelu=config.quick_gelu, is_causal=False)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, config.embed_dim))

    def forward(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B E"]:
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)  # (B, W, S/p, S/p) to (B, P, W)
        first = self.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
        x = torch.cat([first, patches], dim=1) + self.positional_embedding  # (B, 1+P, W)
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj


class Transformer(nn.Module):
    """Blocks, one after another."""

    def __init__(self, tower: Tower, *, quick_gelu: bool, is_causal: bool) -> None:
        super().__init__()
        blocks = [TransformerBlock(tower, quick_gelu=quick_gelu, is_causal=is_causal) for _ in range(tower.layers)]
        self.resblocks = nn.ModuleList(blocks)

    def forward(self, x: Float[Tensor, "B L W"]) -> Float[Tensor, "B L W"]:
        for block in self.resblocks:
            x = block(x)
        return x


class TransformerBlock(nn.Module):
    """Attention, then a two-layer perceptron, each normalized before and added to the residual stream after."""

    def __init__(self, tower: Tower, *, quick_gelu: bool, is_causal: bool) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(tower.width)
        self.attn = Attention(tower, is_causal=is_causal)
        self.ln_2 = nn.LayerNorm(tower.width)
        self.mlp = MLP(tower.width, quick_gelu=quick_gelu)

    def forward(self, x: Float[Tensor, "B L W"]) -> Float[Tensor, "B L W"]:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Attention(nn.Module):
    """Multi-head self-attention, with weights that are named and initialized as in ``nn.MultiheadAttention``."""

    def __init__(self, tower: Tower, *, is_causal: bool) -> None:
        super().__init__()
        self.heads = tower.heads
        self.is_causal = is_causal
        self.in_proj_weight = nn.Parameter(torch.empty(3 * tower.width, tower.width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * tower.width))
        self.out_proj = nn.Linear(tower.width, tower.width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Float[Tensor, "B L W"]) -> Float[Tensor, "B L W"]:
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)  # (B, L, 3W)
        split = projected.unflatten(-1, (3, self.heads, -1))  # (B, L, 3, H, D)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # three of (B, H, L, D)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.is_causal)  # (B, H, L, D)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))  # (B, L, W)


class MLP(nn.Module):
    """Two linear layers, four times as wide between them."""

    def __init__(self, width: int, *, quick_gelu: bool) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.gelu = QuickGELU() if quick_gelu else nn.GELU()
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "*N W"]) -> Float[Tensor, "*N W"]:
        return self.c_proj(self.gelu(self.c_fc(x)))


class QuickGELU(nn.Module):
    """OpenAI's approximation of GELU. Weights trained with one do not work with the other."""

    def forward(self, x: Float[Tensor, "*N W"]) -> Float[Tensor, "*N W"]:
        return x * torch.sigmoid(1.702 * x)
