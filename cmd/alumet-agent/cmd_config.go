package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newConfigCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Make or check the configuration file",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "regen",
		Short: "Write the configuration file anew, with the defaults of the enabled plugins",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.regenerate(o.path()); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "Default configuration file written to: %s\n", o.path())
			return err
		},
	}, &cobra.Command{
		Use:   "check",
		Short: "Check the configuration file; opens no device, file or network",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.noDefault = true
			file, _, err := o.load()
			if err != nil {
				return err
			}
			on := 0
			for _, s := range file.Sections {
				if s.Enabled {
					on++
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is valid: %d plugins enabled\n", o.path(), on)
			return err
		},
	})
	return cmd
}
