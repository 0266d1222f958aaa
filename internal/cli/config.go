package cli

import (
	"github.com/spf13/cobra"

	"crayon/internal/fault"
)

func (a *app) configCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "config", Short: "The effective settings"})
	cmd.AddCommand(&cobra.Command{
		Use: "print", Short: "Print every setting, its value and where it comes from",
		Long: "Flags go before CRAYON_* variables, those before crayon.yaml in the working folder,\nthat before crayon.yaml in the config folder, that before the defaults. Keys are not shown.",
		Args: args(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			s, err := a.settings()
			if err != nil {
				return err
			}
			result := map[string]any{"settings": s.Values(), "folders": map[string]string{"data": s.Paths.Data, "config": s.Paths.Config, "cache": s.Paths.Cache}}
			if err := a.emit(result, nil); err != nil || a.json {
				return err
			}
			if err := s.Print(a.out); err != nil {
				return &fault.Error{Op: "write result", Err: err}
			}
			return nil
		},
	})
	for _, c := range cmd.Commands() {
		settingFlags(c.Flags(), otherSettings()...)
	}
	return cmd
}
