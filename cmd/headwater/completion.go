package main

import (
	"github.com/spf13/cobra"
)

func completionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Writes a script with which a shell completes headwater's commands",
		Example: `  source <(headwater completion bash)
  headwater completion zsh > "${fpath[1]}/_headwater"
  headwater completion fish > ~/.config/fish/completions/headwater.fish`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "fish", "powershell", "zsh"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			}
			return root.GenPowerShellCompletionWithDesc(a.out)
		},
	}
}
