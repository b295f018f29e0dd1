"""Settings to the loss terms."""

from jaxtyping import Int
from torch import Tensor

from clip2scene.config import Recipe
from clip2scene.distill.losses.objective import KL, PPKT, SCR, KeepText, Lovasz, Objective, SLidR, StCR, Term
from clip2scene.distill.losses.scr import class_weights


def build_objective(recipe: Recipe, histogram: Int[Tensor, " classes"]) -> Objective:
    """Choose the loss terms of a recipe; a term whose weight is 0 is left out.

    Args:
        recipe: Which terms, and how they are weighted.
        histogram: Targets of each class in the whole split, for class balance.
    """
    loss, consistency = recipe.loss, recipe.consistency
    rivals: dict[str, Term] = {
        "pixel-infonce": PPKT(loss.contrast_temperature),
        "superpixel-infonce": SLidR(loss.contrast_temperature),
        "kl-divergence": KL(loss.kl_temperature),
    }
    terms: list[Term] = []
    if loss.form in rivals:
        terms.append(rivals[loss.form])
    if loss.weight and (loss.form not in rivals or loss.backbone is not None):
        terms.append(
            SCR(
                "class-infonce" if loss.form == "class-infonce" else "point-cross-entropy",
                loss.weight,
                loss.temperature,
                class_weights(histogram, loss.class_balance) if loss.class_balance else None,
                detached=loss.form in rivals,  # beside a contrast, words train their head alone
                name="scr" if recipe.supervision == "label-free" else "supervised",
            )
        )
    if loss.lovasz * loss.weight:
        terms.append(Lovasz(loss.lovasz * loss.weight))
    if consistency.weight:
        form, weight, temperature = consistency.form, consistency.weight, consistency.temperature
        terms.append(StCR(form, weight, temperature, consistency.guard, own_head=loss.weight > 0))
    if recipe.tuning.keep_words:
        terms.append(KeepText(recipe.tuning.keep_words))
    return Objective(tuple(terms))
