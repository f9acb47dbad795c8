# SPDX-License-Identifier: MIT
# bash completion for membus(1)
_membus()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]} options
    local IFS=$'\n'

    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W $'tree\nflat\nfind\ndiff\nlog\ncheck\nram\nslots\nmemdev\nboot\nhelp\n--help\n--version' -- "$cur"))
        return
    fi
    case $command in
    help)
        COMPREPLY=($(compgen -W $'tree\nflat\nfind\ndiff\nlog\ncheck\nram\nslots\nmemdev\nboot' -- "$cur"))
        return
        ;;
    log)
        options=$'--verbose\n--as\n--json\n--help'
        ;;
    check)
        options=$'--as\n--json\n--help'
        ;;
    slots)
        options=$'--flat\n--as\n--max-slot\n--max-slots\n--stage2\n--write\n--log\n--host-page\n--json\n--help'
        case $prev in
        --host-page)
            COMPREPLY=($(compgen -W $'4K\n2M\n1G' -- "$cur"))
            return
            ;;
        --max-slot | --max-slots | --stage2) return ;;
        esac
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
    boot)
        case $prev in
        --accel) COMPREPLY=($(compgen -W $'auto\nkvm\nsoft' -- "$cur")) ;;
        --serial) COMPREPLY=($(compgen -W $'stdio\npty\nfile:\nnull' -- "$cur")) ;;
        --monitor) COMPREPLY=($(compgen -W $'stdio\nunix:' -- "$cur")) ;;
        --bios | --disk | --kernel | --initrd | --debugcon | --trace-map)
            compopt -o filenames 2>/dev/null
            COMPREPLY=($(compgen -f -- "$cur"))
            ;;
        -m | --smp | --memory-backend | --append | --exit-on | --timeout) ;;
        *)
            options=$'--accel\n-m\n--smp\n--memory-backend\n--bios\n--disk\n--kernel\n--initrd\n--append'
            options+=$'\n--serial\n--debugcon\n--monitor\n--exit-on\n--timeout\n--trace-map\n--help'
            COMPREPLY=($(compgen -W "$options" -- "$cur"))
            ;;
        esac
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
