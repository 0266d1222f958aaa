package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"crayon"
	"crayon/internal/fault"
	"crayon/internal/route"
	"crayon/internal/store"
)

// routePolicy is a file of queries with what is expected of them.
type routePolicy struct {
	Customisation string        `yaml:"customisation"` // of cases that name none
	Cases         []policedCase `yaml:"cases"`
}

type policedCase struct {
	Customisation string   `yaml:"customisation" json:"customisation,omitempty"`
	Query         string   `yaml:"query" json:"query"`
	Context       string   `yaml:"context" json:"context,omitempty"`
	Earlier       []string `yaml:"earlier" json:"earlier,omitempty"` // turns before it, the user's first
	Side          string   `yaml:"side" json:"side"`
	Reason        string   `yaml:"reason" json:"reason,omitempty"` // "": any
}

// policed is the outcome of a case.
type policed struct {
	policedCase
	Line     int             `json:"line"`
	OK       bool            `json:"ok"`
	Decision crayon.Decision `json:"decision"`
}

const (
	mostPolicy = 4 << 20
	mostCases  = 10000
)

func (a *app) routeTestCommand() *cobra.Command {
	return &cobra.Command{
		Use: "test FILE", Short: "Check queries against the sides that a policy file expects; for CI",
		Long: `FILE is YAML: the customisation, and cases of a query with the side that is
expected, and the reason if that matters. Decided is as if a server were set;
nothing is sent. A case that comes out otherwise is status 3.

  customisation: mine
  cases:
    - query: my brakes squeal
      side: device
    - query: write a sonnet on the sea
      side: server
      reason: out-of-scope
    - query: and the rear one?
      earlier: [my brakes squeal, clean the rims]
      side: device`,
		Args: args(1, 1, "the FILE of a policy"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, lines, err := readPolicy(args[0])
			if err != nil {
				return err
			}
			results, err := a.police(cmd.Context(), p, lines)
			if err != nil {
				return err
			}
			wrong := 0
			for _, r := range results {
				if !r.OK {
					wrong++
				}
			}
			err = a.emit(map[string]any{"file": args[0], "cases": results, "wrong": wrong}, func(w io.Writer) {
				for _, r := range results {
					if !r.OK {
						fmt.Fprintf(w, "%s:%d  %q: expected %s, is %s\n", args[0], r.Line, r.Query, r.expected(), r.Decision.Short())
					}
				}
				fmt.Fprintf(w, "%d of %d cases as expected\n", len(results)-wrong, len(results))
			})
			if err == nil && wrong > 0 {
				err = &fault.Error{Op: "test route", Path: args[0], Err: fmt.Errorf("%d of %d cases are not as expected", wrong, len(results)), Hint: "crayon route explain NAME QUERY", Exit: fault.ExitVerify}
			}
			return err
		},
	}
}

func (c *policedCase) expected() string {
	if c.Reason == "" {
		return c.Side
	}
	return c.Side + " (" + c.Reason + ")"
}

// readPolicy also returns the line of each case.
func readPolicy(path string) (*routePolicy, []int, error) {
	fail := func(line int, err error, hint string) error {
		at := path
		if line > 0 {
			at = fmt.Sprintf("%s:%d", path, line)
		}
		return &fault.Error{Op: "read policy", Path: at, Err: err, Hint: hint, Exit: fault.ExitUsage}
	}
	data, err := store.ReadFile(path, mostPolicy)
	if err != nil {
		return nil, nil, fail(0, errors.Unwrap(err), "check the path")
	}
	p := &routePolicy{}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(p); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fail(0, err, "crayon route test --help shows one")
	}
	var doc struct {
		Cases []yaml.Node `yaml:"cases"`
	}
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, nil, fail(0, err, "crayon route test --help shows one")
	}
	if n := len(p.Cases); n == 0 || n > mostCases {
		return nil, nil, fail(0, fmt.Errorf("%d cases; wanted 1 to %d", n, mostCases), "crayon route test --help shows one")
	}
	lines := make([]int, len(p.Cases))
	for i := range p.Cases {
		c := &p.Cases[i]
		lines[i] = doc.Cases[i].Line
		if c.Customisation == "" {
			c.Customisation = p.Customisation
		}
		switch {
		case c.Query == "":
			return nil, nil, fail(lines[i], errors.New("the query is empty"), "query: the question")
		case c.Side != string(route.Device) && c.Side != string(route.Server):
			return nil, nil, fail(lines[i], fmt.Errorf("side %q", c.Side), "side: device, or side: server")
		case c.Reason != "" && route.Reason(c.Reason).Sentence() == c.Reason:
			return nil, nil, fail(lines[i], fmt.Errorf("there is no reason %q", c.Reason), "reason: in-scope, out-of-scope or low-confidence")
		case len(c.Earlier)%2 == 1:
			return nil, nil, fail(lines[i], fmt.Errorf("%d earlier turns, but the user's and the answers take turns", len(c.Earlier)), "earlier: [question, answer]")
		}
	}
	return p, lines, nil
}

func (a *app) police(ctx context.Context, p *routePolicy, lines []int) ([]policed, error) {
	lib, err := a.library()
	if err != nil {
		return nil, err
	}
	customs := map[string]*crayon.Customisation{}
	for _, c := range p.Cases {
		if name := c.Customisation; name != "" && name != base && customs[name] == nil {
			if customs[name], err = lib.Load(name); err != nil {
				return nil, err
			}
		}
	}
	c, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	show, done := a.progress()
	defer done()
	var out []policed
	for i, k := range p.Cases {
		var turns []crayon.Turn
		for j, text := range k.Earlier {
			turns = append(turns, crayon.Turn{Role: []string{"user", "assistant"}[j%2], Content: text})
		}
		turns = append(slices.Clone(turns), crayon.Turn{Role: "user", Content: k.Query})
		d, err := c.Decide(ctx, customs[k.Customisation], turns, k.Context)
		if err == nil {
			d, err = crayon.IfThereWere(d)
		}
		if err != nil {
			return nil, err
		}
		ok := string(d.Route) == k.Side && (k.Reason == "" || string(d.Reason) == k.Reason)
		out = append(out, policed{policedCase: k, Line: lines[i], OK: ok, Decision: d})
		show("cases", i+1, len(p.Cases))
	}
	return out, nil
}
