"""The command `timesen completion`: the script by which a shell completes what a user types.

The script is cyclopts's own. It holds the commands and options of this version, and asks `timesen`
for the names of checkpoints, vocabularies and catalogues when they are completed.
"""

from typing import Annotated, Literal

from flows.cli.app import argument, command_app

completion_app = command_app(
    "completion",
    examples=(
        "timesen completion bash > ~/.local/share/bash-completion/completions/timesen",
        "timesen completion zsh > ~/.zsh/completions/_timesen    # a folder of $fpath",
        "timesen completion fish > ~/.config/fish/completions/timesen.fish",
    ),
)


@completion_app.default
def print_completion(
    shell: Annotated[
        Literal["bash", "zsh", "fish"], argument("SHELL", "The shell: bash, zsh or fish.")
    ],
    /,
) -> int:
    """Print the script by which a shell completes commands, options and names with the Tab key.

    Write it where the shell looks for such scripts, and open a new shell. Do so again after an
    update of timesen.
    """
    from flows.cli.main import whole_app

    script = whole_app().generate_completion(prog_name="timesen", shell=shell)
    # Where nothing is known, bash's own completion of files goes on.
    print(script.replace("complete -F _timesen", "complete -o default -F _timesen"), end="")
    return 0
