"""All names of GenDoP's published checkpoints, with small shapes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Widths and lengths; the numbers of layers are the published ones, 23, 32 and 12."""

    words: int = 20
    text: int = 16
    positions: int = 5
    vision: int = 32
    decoder: int = 8
    vocabulary: int = 12
    places: int = 30


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def layers(prefix, count, width, mlp):
    shapes = {}
    for layer in (f"{prefix}encoder.layers.{i}." for i in range(count)):
        for part in "qkv":
            shapes |= linear(f"{layer}self_attn.{part}_proj", width, width)
        shapes |= linear(f"{layer}self_attn.out_proj", width, width)
        shapes |= norm(f"{layer}layer_norm1", width) | norm(f"{layer}layer_norm2", width)
        shapes |= linear(f"{layer}mlp.fc1", width, mlp) | linear(f"{layer}mlp.fc2", mlp, width)
    return shapes


def published(rgbd: bool, sizes: Sizes = Sizes()) -> dict[str, tuple[int, ...]]:
    """Names as in text_motion, text_directorial (571) or text_rgbd (1613) .safetensors, small shapes."""
    text, decoder, width = "text_encoder.text_model.", "mesh_decoder.model.", sizes.decoder
    shapes = {f"{text}embeddings.token_embedding.weight": (sizes.words, sizes.text)}
    shapes[f"{text}embeddings.position_embedding.weight"] = (sizes.positions, sizes.text)
    shapes |= layers(text, 23, sizes.text, 12) | norm(f"{text}final_layer_norm", sizes.text)
    shapes |= {
        f"{decoder}embd.weight": (sizes.vocabulary, width),
        f"{decoder}embed_positions.weight": (sizes.places, width),
    }
    for layer in (f"{decoder}layers.{i}." for i in range(12)):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}self_attn.{part}", width, width)
        shapes |= norm(f"{layer}self_attn_layer_norm", width) | norm(f"{layer}final_layer_norm", width)
        shapes |= linear(f"{layer}fc1", width, 20) | linear(f"{layer}fc2", 20, width)
    shapes |= {"mesh_decoder.lm_head.weight": (sizes.vocabulary, width)} | norm("norm_cond", width)
    if not rgbd:
        return shapes | linear("proj_cond", sizes.text, width)
    shapes |= linear("proj_cond_text", sizes.text, width)
    for part in ("image", "depth"):
        shapes |= linear(f"proj_cond_{part}", sizes.vision, width)
    for tower in ("image_encoder.vision_model.", "depth_encoder.vision_model."):
        shapes |= {f"{tower}embeddings.class_embedding": (sizes.vision,)}
        shapes |= {f"{tower}embeddings.patch_embedding.weight": (sizes.vision, 3, 2, 2)}
        shapes |= {f"{tower}embeddings.position_embedding.weight": (10, sizes.vision)}
        shapes |= norm(f"{tower}pre_layrnorm", sizes.vision) | norm(f"{tower}post_layernorm", sizes.vision)
        shapes |= layers(tower, 32, sizes.vision, 24)
    return shapes
