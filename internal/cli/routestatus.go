package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"crayon"
)

// routeState is the JSON of route status.
type routeState struct {
	Mode    string               `json:"mode"`
	Servers []string             `json:"servers"`
	Log     string               `json:"log"`
	Damaged int                  `json:"damaged_lines,omitempty"`
	Budget  crayon.BudgetStatus  `json:"budget"`
	Names   []crayon.RouteStatus `json:"customisations"`
}

func (a *app) routeStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status [NAME]", Short: "Show calibrations, the share sent, and whether it drifts", Args: args(0, 1, "the NAME of a customisation"), ValidArgsFunction: a.completeNames,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.settings()
			if err != nil {
				return err
			}
			lib, err := a.library()
			if err != nil {
				return err
			}
			r := routeState{Mode: s.Route.Mode, Servers: append([]string{}, s.Server.URLs...), Log: lib.DecisionLog()}
			if r.Names, r.Damaged, err = lib.RouteStatus(lib.ModelDigest(s.Model), args...); err != nil {
				return err
			}
			if r.Budget, err = lib.BudgetStatus(budgetOf(s.Budget)); err != nil {
				return err
			}
			for _, n := range r.Names {
				if len(n.Stale) > 0 {
					a.warn(fmt.Sprintf("the calibration of %s is stale, and is not used", n.Name))
				}
				for _, d := range n.Drift {
					if d.Alarm {
						a.warn(fmt.Sprintf("%s drifts from its calibration: %s", n.Name, d.Sentence()))
					}
				}
			}
			return a.emit(r, func(w io.Writer) { writeRouteState(w, r) })
		},
	}
}

func writeRouteState(w io.Writer, r routeState) {
	fmt.Fprintf(w, "mode       %s\n", r.Mode)
	if len(r.Servers) == 0 {
		fmt.Fprintln(w, "server     none is set: the device answers everything")
	}
	for _, s := range r.Servers {
		fmt.Fprintf(w, "server     %s\n", s)
	}
	writeBudget(w, r.Budget)
	fmt.Fprintf(w, "log        %s\n", r.Log)
	if r.Damaged > 0 {
		fmt.Fprintf(w, "           %d lines of it cannot be read\n", r.Damaged)
	}
	for i := range r.Names {
		writeRouteStatus(w, &r.Names[i])
	}
}

func writeRouteStatus(w io.Writer, s *crayon.RouteStatus) {
	fmt.Fprintf(w, "\n%s\n", s.Name)
	switch {
	case s.Calibration == nil:
		fmt.Fprintln(w, "  calibrated  no: the default decides")
	case len(s.Stale) > 0:
		fmt.Fprintf(w, "  calibrated  %s, but stale: %s changed since; crayon route calibrate %s --data FILE\n", s.Calibration.Made.Format("2006-01-02"), list(s.Stale), s.Name)
	default:
		fmt.Fprintf(w, "  calibrated  %s\n", s.Calibration.Made.Format("2006-01-02"))
	}
	if s.Calibration != nil {
		fmt.Fprintf(w, "  promise     %s\n", s.Calibration.Rule.Sentence())
	}
	if s.Queries == 0 {
		fmt.Fprintln(w, "  queries     none in the log")
	} else {
		fmt.Fprintf(w, "  queries     %d since %s; %d (%.1f %%) to the server, %d degraded, %d failed\n", s.Queries, s.Since.Format("2006-01-02"), s.Sent, 100*float64(s.Sent)/float64(s.Queries), s.Degraded, s.Failed)
	}
	if s.Shadows > 0 {
		fmt.Fprintf(w, "  shadow      %d also asked of the server; mean agreement %.2f\n", s.Shadows, s.Agreement)
	}
	for _, d := range s.Drift {
		state := "within"
		if d.Alarm {
			state = "DRIFTS"
		}
		fmt.Fprintf(w, "  drift       %s  %s\n", state, d.Sentence())
	}
	if s.Candidates > 0 {
		fmt.Fprintf(w, "  candidates  %d answers of the server to look through: crayon route harvest %s\n", s.Candidates, s.Name)
	}
}

func list(words []string) string {
	out := ""
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			out += " and "
		default:
			out += ", "
		}
		out += w
	}
	return out
}
