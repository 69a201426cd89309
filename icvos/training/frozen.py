"""What of a model is trained and what is frozen: its mode, and the tensors that training may change."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["set_training_mode", "trained_state"]


def set_training_mode(model: nn.Module) -> None:
    """Set training mode where something is trained; modules that are frozen as a whole stay in eval mode.

    So a frozen backbone's batch norms keep their statistics (the reference lets them drift: Q11), its dropout off. A
    module with a true attribute ``drifts`` stays in training mode all the same: some published codes do so.
    """
    model.train()

    def visit(module: nn.Module) -> None:
        if getattr(module, "drifts", False):
            return
        parameters = list(module.parameters())
        holds_something = bool(parameters) or next(module.buffers(), None) is not None
        if holds_something and not any(p.requires_grad for p in parameters):
            module.eval()
            return
        for child in module.children():
            visit(child)

    visit(model)


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a model that training may change: trainable parameters and their modules' buffers.

    Also the buffers of frozen modules with a true attribute ``drifts``.
    """
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    prefixes = {name.rpartition(".")[0] for name in names}
    drifting = tuple(f"{name}." for name, module in model.named_modules() if getattr(module, "drifts", False))
    for name, _ in model.named_buffers():
        if name.rpartition(".")[0] in prefixes or name.startswith(drifting):
            names.add(name)
    return {name: value for name, value in model.state_dict().items() if name in names}
