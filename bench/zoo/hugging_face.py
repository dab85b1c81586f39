"""Small configurations of architectures of `transformers`, with random weights: nothing is downloaded.

Each function is an entry function: it returns the model, what goes in by name, and what gives the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import beside_cpu_torch  # noqa: F401
import torch
import transformers as hf
from torch import Tensor, nn

Entry = tuple[nn.Module, dict[str, Any], Callable[..., Tensor]]

_VOCABULARY = 1000


def _loss(output: Any) -> Tensor:
    loss: Tensor = output.loss
    return loss


def _ids(batch: int = 4, length: int = 64, below: int = _VOCABULARY) -> Tensor:
    return torch.randint(3, below, (batch, length))


def _image(batch: int = 4, size: int = 64) -> Tensor:
    return torch.randn(batch, 3, size, size)


def _encoder_sizes() -> dict[str, Any]:
    return {
        "vocab_size": _VOCABULARY, "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 256,
    }  # fmt: skip


def _decoder(config: Any) -> Entry:
    ids = _ids()
    return hf.AutoModelForCausalLM.from_config(config), {"input_ids": ids, "labels": ids}, _loss


def _masked(config: Any) -> Entry:
    """A masked language model on a padded batch."""
    ids = _ids()
    mask = torch.ones_like(ids)
    mask[0, 48:] = 0
    return (
        hf.AutoModelForMaskedLM.from_config(config), {"input_ids": ids, "attention_mask": mask, "labels": ids}, _loss,
    )  # fmt: skip


def bert() -> Entry:
    return _masked(hf.BertConfig(**_encoder_sizes()))


def roberta() -> Entry:
    return _masked(hf.RobertaConfig(**_encoder_sizes()))


def distilbert() -> Entry:
    return _masked(hf.DistilBertConfig(vocab_size=_VOCABULARY, dim=128, n_layers=3, n_heads=4, hidden_dim=256))


def electra() -> Entry:
    return _masked(hf.ElectraConfig(**_encoder_sizes(), embedding_size=64))


def deberta_v2() -> Entry:
    return _masked(hf.DebertaV2Config(**_encoder_sizes(), relative_attention=True, pos_att_type=["p2c", "c2p"]))


def modernbert() -> Entry:
    return _masked(
        hf.ModernBertConfig(**_encoder_sizes(), pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1,
                            sep_token_id=2)
    )  # fmt: skip


def gpt2() -> Entry:
    return _decoder(
        hf.GPT2Config(vocab_size=_VOCABULARY, n_embd=128, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=2)
    )


def gpt_neox() -> Entry:
    return _decoder(hf.GPTNeoXConfig(**_encoder_sizes()))


def opt() -> Entry:
    return _decoder(
        hf.OPTConfig(vocab_size=_VOCABULARY, hidden_size=128, num_hidden_layers=3, num_attention_heads=4, ffn_dim=256,
                     word_embed_proj_dim=128)
    )  # fmt: skip


def bloom() -> Entry:
    return _decoder(hf.BloomConfig(vocab_size=_VOCABULARY, hidden_size=128, n_layer=3, n_head=4, use_cache=False))


def falcon() -> Entry:
    return _decoder(
        hf.FalconConfig(vocab_size=_VOCABULARY, hidden_size=128, num_hidden_layers=3, num_attention_heads=4)
    )


def llama() -> Entry:
    return _decoder(hf.LlamaConfig(**_encoder_sizes(), num_key_value_heads=2))


def mistral() -> Entry:
    return _decoder(hf.MistralConfig(**_encoder_sizes(), num_key_value_heads=2, sliding_window=32))


def gemma() -> Entry:
    return _decoder(hf.GemmaConfig(**_encoder_sizes(), num_key_value_heads=1, head_dim=32))


def gemma2() -> Entry:
    return _decoder(hf.Gemma2Config(**_encoder_sizes(), num_key_value_heads=2, head_dim=32, sliding_window=32))


def qwen2() -> Entry:
    return _decoder(hf.Qwen2Config(**_encoder_sizes(), num_key_value_heads=2))


def qwen3() -> Entry:
    return _decoder(hf.Qwen3Config(**_encoder_sizes(), num_key_value_heads=2, head_dim=32))


def phi3() -> Entry:
    return _decoder(hf.Phi3Config(**_encoder_sizes(), pad_token_id=0))


def mixtral() -> Entry:
    return _decoder(
        hf.MixtralConfig(**_encoder_sizes(), num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2)
    )


def mamba() -> Entry:
    return _decoder(hf.MambaConfig(vocab_size=_VOCABULARY, hidden_size=64, num_hidden_layers=2, state_size=8))


def t5() -> Entry:
    config = hf.T5Config(vocab_size=_VOCABULARY, d_model=128, d_kv=32, d_ff=256, num_layers=2, num_heads=4,
                         decoder_start_token_id=0)  # fmt: skip
    return hf.T5ForConditionalGeneration(config), {"input_ids": _ids(), "labels": _ids(length=32)}, _loss


def bart() -> Entry:
    config = hf.BartConfig(
        vocab_size=_VOCABULARY, d_model=128, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=256, decoder_ffn_dim=256,
    )  # fmt: skip
    return hf.BartForConditionalGeneration(config), {"input_ids": _ids(), "labels": _ids(length=32)}, _loss


def whisper() -> Entry:
    config = hf.WhisperConfig(
        vocab_size=_VOCABULARY, d_model=128, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=256, decoder_ffn_dim=256, max_source_positions=100,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    inputs = {"input_features": torch.randn(2, 80, 200), "labels": _ids(2, 32)}
    return hf.WhisperForConditionalGeneration(config), inputs, _loss


def wav2vec2() -> Entry:
    config = hf.Wav2Vec2Config(
        vocab_size=32, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
        conv_dim=(64,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    return hf.Wav2Vec2ForCTC(config), {"input_values": torch.randn(2, 16000), "labels": _ids(2, 12, 32)}, _loss


def clip() -> Entry:
    text = {"vocab_size": _VOCABULARY, "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 256, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
    vision = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256,
              "image_size": 64, "patch_size": 16}  # fmt: skip
    inputs = {"input_ids": _ids(length=32), "pixel_values": _image(), "return_loss": True}
    return hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=64)), inputs, _loss


def _classifier(config: Any, size: int = 64) -> Entry:
    config.num_labels = 10
    labels = torch.randint(0, 10, (4,))
    model = hf.AutoModelForImageClassification.from_config(config)
    return model, {"pixel_values": _image(size=size), "labels": labels}, _loss


def vit() -> Entry:
    return _classifier(
        hf.ViTConfig(hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=256, image_size=64,
                     patch_size=8)
    )  # fmt: skip


def dinov2() -> Entry:
    return _classifier(
        hf.Dinov2Config(hidden_size=128, num_hidden_layers=3, num_attention_heads=4, image_size=64, patch_size=8)
    )


def swin() -> Entry:
    return _classifier(
        hf.SwinConfig(image_size=64, patch_size=4, embed_dim=32, depths=[2, 2], num_heads=[2, 4], window_size=4)
    )


def convnext() -> Entry:
    return _classifier(hf.ConvNextConfig(hidden_sizes=[32, 64, 128, 128], depths=[2, 2, 2, 2]))


def resnet() -> Entry:
    return _classifier(hf.ResNetConfig(embedding_size=32, hidden_sizes=[32, 64, 128, 128], depths=[2, 2, 2, 2]))


def segformer() -> Entry:
    config = hf.SegformerConfig(
        hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 4, 4], decoder_hidden_size=64,
        num_labels=7,
    )  # fmt: skip
    inputs = {"pixel_values": _image(size=128), "labels": torch.randint(0, 7, (4, 128, 128))}
    return hf.SegformerForSemanticSegmentation(config), inputs, _loss


def _detr() -> Any:
    backbone = hf.ResNetConfig(embedding_size=16, hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1],
                               layer_type="basic", out_features=["stage4"])  # fmt: skip
    return hf.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=64,
        encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=128,
        decoder_ffn_dim=128, num_queries=20, num_labels=5,
    )  # fmt: skip


def detr() -> Entry:
    """Without its loss: that matches boxes on the CPU, with SciPy, outside of the model."""

    def loss(output: Any) -> Tensor:
        return output.logits.square().mean() + output.pred_boxes.mean()

    return hf.DetrForObjectDetection(_detr()), {"pixel_values": _image(2, 128)}, loss
