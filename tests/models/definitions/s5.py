"""S5: https://github.com/lindermanlab/S5, a state-space model in Linen."""

from tests.models.definitions._definition import Linen, absent, definition, old_names, shape

absent("torch", "torchtext", "torchaudio", "datasets", "tensorflow_datasets", "wandb")


@definition(
    "s5/classification",
    "s5/seq_model.py",
    """
    A                  vector
    Lambda_re          vector
    Lambda_im          vector
    log_step           vector
    D                  vector
    B                  vector|hidden oib
    C                  vector|hidden oib
    C1                 vector|hidden oib
    C2                 vector|hidden oib
    encoder/encoder/*  input io
    decoder/kernel     head io
    """,
)
def classification():
    old_names()
    from s5 import seq_model, ssm, ssm_init

    lam, _, _, v, _ = ssm_init.make_DPLR_HiPPO(16)
    lam, v = lam[:8], v[:, :8]
    layer = ssm.init_S5SSM(
        24, 8, lam.real, lam.imag, v, v.conj().T, "lecun_normal", "zoh", 0.001, 0.1, True, False, False
    )  # fmt: skip
    model = seq_model.ClassificationModel(layer, 10, 24, 2, False, activation="full_glu", training=False)
    return Linen(model, (shape(16, 4), shape(16)))
