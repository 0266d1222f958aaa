package cli

import (
	"io"

	"github.com/spf13/cobra"

	"crayon/internal/doctor"
)

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor", Short: "Say what is wrong, and the command that mends it",
		Long: `Checks the processor, the home folder, free space, the model and its digest, that
pool and customisations fit it, and, if a server is set and --local-only is not,
that the server answers.`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.settings()
			if err != nil {
				return err
			}
			r := doctor.Examine(cmd.Context(), s)
			if err := a.emit(r, func(w io.Writer) { r.WriteText(w, a.style()) }); err != nil {
				return err
			}
			return r.Err("doctor")
		},
	}
	settingFlags(cmd.Flags(), "server.url", "server.model")
	return cmd
}
