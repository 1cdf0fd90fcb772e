"""`vramshare completion SHELL`: a script that makes Tab work. It asks the program itself, so it never grows old.

For `kubectl vramshare`, kubectl asks the program `kubectl_complete-vramshare`, in the manner of its own completion.
"""

import argparse
import sys
from typing import Final

KUBECTL_HELPER: Final = "kubectl_complete-vramshare"
ASK: Final = "__complete"
"""The hidden first argument by which the scripts ask."""
BASH: Final = """\
# Tab completion of vramshare for bash: put it into ~/.bashrc as  source <(vramshare completion bash)
_vramshare() {
    local IFS=$'\\n' line
    COMPREPLY=()
    while IFS= read -r line; do
        if [ "$line" = :files ]; then
            compopt -o default 2>/dev/null
        else
            COMPREPLY+=("${line%%$'\\t'*}")
        fi
    done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _vramshare vramshare
"""
ZSH: Final = """\
#compdef vramshare
# Tab completion of vramshare for zsh: put it into ~/.zshrc as  source <(vramshare completion zsh)
_vramshare() {
    local line word text
    local -a found
    for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ "$line" == :files ]]; then
            _files
        elif [[ -n "$line" ]]; then
            word="${line%%$'\\t'*}" text="${line#*$'\\t'}"
            found+=("${word//:/\\\\:}:${text//:/\\\\:}")
        fi
    done
    (( ${#found} )) && _describe vramshare found
}
compdef _vramshare vramshare
"""
FISH: Final = """\
# Tab completion of vramshare for fish: put it into ~/.config/fish/completions/vramshare.fish
function __vramshare
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] __complete $words[2..-1] 2>/dev/null)
    for line in $found
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
        else
            printf '%s\\n' $line
        end
    end
end
complete -c vramshare -f -a '(__vramshare)'
"""
SCRIPTS: Final = {"bash": BASH, "zsh": ZSH, "fish": FISH}


class Completion:
    """The subcommand."""

    help = "print a script that completes vramshare's words on Tab"
    examples = (
        ("source <(vramshare completion bash)", "in ~/.bashrc; the same for zsh in ~/.zshrc"),
        ("vramshare completion fish > ~/.config/fish/completions/vramshare.fish", "for fish, once"),
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("shell", choices=sorted(SCRIPTS), help="which shell")

    def run(self, args: argparse.Namespace) -> int:
        """Print it."""
        sys.stdout.write(SCRIPTS[args.shell])
        return 0


command: Final = Completion()
