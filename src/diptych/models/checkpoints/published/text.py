"""The sizes of the text towers that are other projects' models, and how their texts become tokens, as the published
models of open_clip use them.

Sizes are from each model's config.json on the hub. The widths of the projection are open_clip's of the smallest model
that uses the tower; `replace` them for another. XLM-R's and RoBERTa's models have an MLP of the mean of both widths.
"""

from dataclasses import replace

from diptych.inputs.tokenizer import TokenizerPolicy
from diptych.models.config import TransformersTextConfig

_BERT_BASE = {"num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
              "max_position_embeddings": 514, "layer_norm_eps": 1e-5, "type_vocab_size": 1}
_BERT_LARGE = _BERT_BASE | {"num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_M2M = {"encoder_attention_heads": 16, "max_position_embeddings": 1024, "scale_embedding": True,
        "activation_function": "relu"}

XLM_ROBERTA_BASE = TransformersTextConfig(
    model_type="xlm-roberta", vocab_size=250_002, projection=512, projection_hidden=640, settings=_BERT_BASE)
"""xlm-roberta-base: open_clip's xlm-roberta-base-ViT-B-32."""

XLM_ROBERTA_LARGE = TransformersTextConfig(
    model_type="xlm-roberta", vocab_size=250_002, width=1024, projection=1024, projection_hidden=1024,
    settings=_BERT_LARGE)
"""xlm-roberta-large: open_clip's xlm-roberta-large-ViT-H-14."""

ROBERTA_BASE = replace(XLM_ROBERTA_BASE, model_type="roberta", vocab_size=50_265)
"""roberta-base: open_clip's roberta-ViT-B-32."""

MT5_BASE = TransformersTextConfig(
    model_type="mt5", vocab_size=250_112, pad_id=0, eos_id=1, projection=512, projection_hidden=640,
    settings={"d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12, "feed_forward_proj": "gated-gelu"})
"""google/mt5-base: open_clip's mt5-base-ViT-B-32, a configuration of which no weights are published."""

NLLB_600M = TransformersTextConfig(
    model_type="m2m_100", vocab_size=256_206, width=1024, pool="cls", projection=512,
    settings=_M2M | {"encoder_layers": 12, "encoder_ffn_dim": 4096})
"""facebook/nllb-200-distilled-600M: open_clip's nllb-clip-base (512) and nllb-clip-base-siglip (768)."""

NLLB_1_3B = replace(NLLB_600M, projection=1024, settings=_M2M | {"encoder_layers": 24, "encoder_ffn_dim": 8192})
"""facebook/nllb-200-distilled-1.3B: open_clip's nllb-clip-large (1024) and nllb-clip-large-siglip (1152)."""

XLM_ROBERTA_TOKENS = TokenizerPolicy(length=77, cleaning="whitespace", pad_id=1, eos_id=2, bos_id=0)
"""Of XLM-R's and of RoBERTa's tokenizers."""

MT5_TOKENS = TokenizerPolicy(length=77, cleaning="whitespace", pad_id=0, eos_id=1)

NLLB_TOKENS = TokenizerPolicy(length=77, cleaning="whitespace", pad_id=1, eos_id=2, bos_id=256_047)
"""The first token names the text's language, and its state is the text's vector: 256,047 is eng_Latn, with which
open_clip encodes texts in any language."""

CLIPA_TOKENS = TokenizerPolicy(length=32, cleaning="whitespace", pad_id=0, eos_id=0, bos_id=101)
"""bert-base-uncased: [CLS] stays, and over [SEP], for which even a text that is too long keeps a place, open_clip
writes padding."""
