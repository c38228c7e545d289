package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"
)

func newRunCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Monitor this node until stopped (the default command)",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runAgent(cmd.Context(), o, cmd.ErrOrStderr())
		},
	}
}

// runAgent measures until SIGINT or SIGTERM ends ctx.
func runAgent(ctx context.Context, o *options, errOut io.Writer) error {
	n, err := openNode(o, errOut)
	if err != nil {
		return err
	}
	err = n.run(ctx, func() { n.log.Info("alumet-agent is ready") })
	n.log.Info("alumet-agent has stopped")
	return err
}
