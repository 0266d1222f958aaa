package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"crayon"
	"crayon/internal/view"
)

// shown is the JSON of show: the customisation without the directions of its
// examples, which are long and mean nothing to a reader.
type shown struct {
	Name     string                `json:"name"`
	Created  string                `json:"created"`
	Model    string                `json:"model"`
	Pool     string                `json:"pool"`
	Remote   *crayon.Remote        `json:"remote,omitempty"` // the server that blended its adapter
	Strategy string                `json:"strategy"`
	Why      string                `json:"why,omitempty"`
	Plan     *crayon.Plan          `json:"plan,omitempty"`
	Shares   []crayon.Share        `json:"shares"`
	Weights  []crayon.Weight       `json:"weights"`
	Labels   []string              `json:"labels,omitempty"`
	Examples int                   `json:"examples"`
	Scope    map[string]float32    `json:"scope"`
	Residual float64               `json:"residual"`
	Seconds  float64               `json:"seconds"`
	Prompts  *crayon.Prompts       `json:"prompts,omitempty"`
	Proof    *crayon.Proof         `json:"proof,omitempty"`
	Path     string                `json:"path"`
	Versions int                   `json:"versions"`
	Rows     []row                 `json:"rows,omitempty"` // with --examples
	custom   *crayon.Customisation // for the text
}

// row is an example as show numbers it.
type row struct {
	Number   int      `json:"number"`
	Question string   `json:"question"`
	Answer   string   `json:"answer,omitempty"`
	Context  string   `json:"context,omitempty"`
	Choices  []string `json:"choices,omitempty"`
}

func (a *app) showCommand() *cobra.Command {
	var rows bool
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show a customisation: weights, labels, scope, proof", Args: args(1, 1, "the NAME of a customisation"),
		ValidArgsFunction: a.completeNames,
		RunE: func(_ *cobra.Command, args []string) error {
			lib, err := a.library()
			if err != nil {
				return err
			}
			c, err := lib.Load(args[0])
			if err != nil {
				return err
			}
			p, err := a.pool()
			if err != nil {
				return err
			}
			if p, err = c.PoolOf(p); err != nil {
				return err
			}
			s := describe(lib, p, c)
			if s.Versions, err = lib.Versions(c.Name); err != nil {
				return err
			}
			if rows {
				for i, e := range c.Examples {
					s.Rows = append(s.Rows, row{i + 1, e.Question, e.Answer, e.Context, e.Choices})
				}
			}
			return a.emit(s, func(w io.Writer) { a.showText(w, p, s) })
		},
	}
	cmd.Flags().BoolVar(&rows, "examples", false, "also list the examples by number, as customize --remove takes them")
	return cmd
}

func describe(lib *crayon.Library, p *crayon.Pool, c *crayon.Customisation) *shown {
	why := ""
	if c.Plan != nil {
		why = c.Plan.Why
	}
	return &shown{
		Why: why, Plan: c.Plan,
		Name: c.Name, Created: c.Created.Format("2006-01-02 15:04:05Z"), Model: c.Model, Pool: c.Pool, Remote: c.Remote, Strategy: c.Strategy,
		Shares: crayon.Shares(p, c), Weights: c.Weights, Labels: c.Labels, Examples: len(c.Examples),
		Scope:    map[string]float32{"user": c.Scope.User, "pool": c.Scope.Pool},
		Residual: c.Residual, Seconds: c.Took, Prompts: c.Prompts, Proof: c.Proof, Path: lib.File(c.Name), custom: c,
	}
}

func (a *app) showText(w io.Writer, p *crayon.Pool, s *shown) {
	fmt.Fprintf(w, "name       %s, made %s for %s\n", s.Name, s.Created, s.Model)
	view.Made(w, s.custom)
	view.From(w, s.custom)
	if s.Pool != p.Digest() {
		fmt.Fprintf(w, "pool       made from another pool (%.12s, this is %.12s): crayon customize %s -f EXAMPLES makes it anew\n", s.Pool, p.Digest(), s.Name)
	}
	view.Plan(w, s.custom)
	view.Blend(w, a.style(), p, s.custom)
	view.Prompts(w, s.custom)
	if from := s.Scope["user"]; from > -1 {
		fmt.Fprintf(w, "scope      a query stays on the device from %.3f on (mean similarity to the nearest examples)\n", from)
	} else {
		fmt.Fprintln(w, "scope      not set: too few examples to tell what is out of it")
	}
	if s.Proof != nil {
		view.Proof(w, a.style(), s.Proof)
	} else {
		fmt.Fprintf(w, "proof      none yet; crayon customize %s -f EXAMPLES makes one\n", s.Name)
	}
	fmt.Fprintf(w, "file       %s, %d older versions\n", s.Path, s.Versions)
	for _, r := range s.Rows {
		fmt.Fprintf(w, "  %3d  %s  %s\n", r.Number, strings.Join(strings.Fields(r.Question), " "), a.style().Dim(r.Answer))
	}
}
