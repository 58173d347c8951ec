"""`stillhouse completion`: a script by which a shell completes commands and options."""

from typing import Literal

from stillhouse.cli.terminal import command


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the completions of a shell: bash, zsh or fish.

    bash: stillhouse completion bash > ~/.local/share/bash-completion/completions/stillhouse

    zsh: stillhouse completion zsh > a directory of $fpath, as _stillhouse

    fish: stillhouse completion fish > ~/.config/fish/completions/stillhouse.fish
    """
    from stillhouse.cli.main import app

    def show() -> None:
        script = app.generate_completion(shell=shell)
        # zsh calls the function that has the name of the file; cyclopts gives both another name.
        command.say(script.replace("_cyclopts_stillhouse", "_stillhouse") if shell == "zsh" else script)

    command.run(show)
