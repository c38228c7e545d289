package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func newPluginsCommand(*options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugins",
		Short: "Show the plugins of this program",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "list",
		Short: "List all plugins",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "Available plugins:")
			for _, p := range plugins(nil, nil) {
				fmt.Fprintf(w, "- %s\t%s\n", p.Name, p.Doc)
			}
			fmt.Fprintln(w, "\nEdit the configuration file or use the --plugins flag to enable/disable plugins.")
			return w.Flush()
		},
	})
	return cmd
}
