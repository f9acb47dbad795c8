# SPDX-License-Identifier: MIT
# bash completion for membus(1)
_membus()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]} options
    local IFS=$'\n'

    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W $'tree\nflat\nfind\ndiff\ncheck\nram\nmemdev\nhelp\n--help\n--version' -- "$cur"))
        return
    fi
    case $command in
    help)
        COMPREPLY=($(compgen -W $'tree\nflat\nfind\ndiff\ncheck\nram\nmemdev' -- "$cur"))
        return
        ;;
    check)
        options=$'--as\n--json\n--help'
        ;;
    memdev)
        if [[ $prev == --touch ]]; then
            COMPREPLY=($(compgen -W "all" -- "$cur"))
        elif [[ $cur == -* ]]; then
            COMPREPLY=($(compgen -W $'--touch\n--json\n--help' -- "$cur"))
        else
            compopt -o nospace 2>/dev/null
            COMPREPLY=($(compgen -W $'memory-backend-ram,\nmemory-backend-file,\nmemory-backend-memfd,\nmemory-backend-shm,\nmemory-backend-fd,' -- "$cur"))
        fi
        return
        ;;
    *)
        options=$'--flat\n--as\n--json\n--help'
        ;;
    esac
    if [[ $prev == --as ]]; then
        # the address spaces of the first file on the line
        local word
        for word in "${COMP_WORDS[@]:2}"; do
            if [[ -f $word ]]; then
                local name
                while read -r name; do
                    [[ $name == "$cur"* ]] && COMPREPLY+=("$(printf %q "$name")")
                done < <(sed -n 's/\r$//; s/^address-space: //p' "$word" | sort -u)
                return
            fi
        done
        return
    fi
    if [[ $cur == -* && $prev != --flat ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
        return
    fi
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "$cur"))
}
complete -F _membus membus
