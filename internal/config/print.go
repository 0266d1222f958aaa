package config

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Value is one effective setting, fit to be shown.
type Value struct {
	Key   string `json:"key"`
	Value string `json:"value"` // a secret is masked
	From  string `json:"from"`  // default, FILE:LINE, env NAME, or flag --NAME
	Env   string `json:"env"`   // the variable that sets it
	Help  string `json:"help"`
}

// Values are all settings in a fixed order.
func (s *Settings) Values() []Value { return slices.Clone(s.values) }

// Print writes each setting, its value and where it comes from, then the
// folders and warnings.
func (s *Settings) Print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "SETTING\tVALUE\tFROM")
	for _, v := range s.values {
		shown := v.Value
		if shown == "" {
			shown = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", v.Key, shown, v.From)
	}
	fmt.Fprintf(tw, "\nFOLDER\tPATH\t\ndata\t%s\t\nconfig\t%s\t\ncache\t%s\t\n", s.Paths.Data, s.Paths.Config, s.Paths.Cache)
	for _, warn := range s.Warnings {
		fmt.Fprintf(tw, "\nwarning: %s\n", warn)
	}
	return tw.Flush()
}
