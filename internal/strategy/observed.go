package strategy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"crayon/internal/fault"
)

// Observed is one scored row of one user: the raw material of a prior, a line
// of JSON each.
type Observed struct {
	User     string  `json:"user"`    // with its draw of the examples: those of one name share a fit
	Dataset  string  `json:"dataset"` // users of a data set count as one together
	Family   string  `json:"family"`  // what is left out together
	Group    string  `json:"group,omitempty"`
	Row      string  `json:"row"`
	Kind     Kind    `json:"kind"`            // KindOf the user's task
	Examples int     `json:"examples"`        // that the user has
	Scope    float64 `json:"scope,omitempty"` // Scope of the examples
	Gold     int     `json:"gold"`

	Features []string             `json:"features,omitempty"`
	X        [][]float64          `json:"x,omitempty"`      // [candidate][feature], a Table
	Scores   map[string][]float64 `json:"scores,omitempty"` // by strategy, of Plan.Scores
}

// mostLine bounds a line of raw material, in bytes.
const mostLine = 16 << 20

// ReadObserved calls each for every line.
func ReadObserved(name string, r io.Reader, each func(*Observed) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 1<<16), mostLine)
	n := 0
	fail := func(err error) error {
		return &fault.Error{Op: "read observations", Path: fmt.Sprintf("%s:%d", name, n), Err: err, Exit: fault.ExitVerify}
	}
	for lines.Scan() {
		n++
		if len(lines.Bytes()) == 0 {
			continue
		}
		o := &Observed{}
		if err := json.Unmarshal(lines.Bytes(), o); err != nil {
			return fail(err)
		}
		if err := o.check(); err != nil {
			return fail(err)
		}
		if err := each(o); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fail(err)
	}
	return nil
}

func (o *Observed) check() error {
	candidates := len(o.X)
	for _, s := range o.Scores {
		candidates = max(candidates, len(s))
	}
	if o.Gold < 0 || o.Gold >= candidates {
		return fmt.Errorf("gold %d of %d candidates", o.Gold, candidates)
	}
	for _, x := range o.X {
		if len(x) != len(o.Features) || len(o.X) != candidates {
			return fmt.Errorf("%d values for %d features, %d candidates of %d", len(x), len(o.Features), len(o.X), candidates)
		}
		for k, v := range x {
			if !finite(v) {
				return fmt.Errorf("%s is %v", o.Features[k], v)
			}
		}
	}
	for name, s := range o.Scores {
		if len(s) != candidates {
			return fmt.Errorf("%s: %d scores for %d candidates", name, len(s), candidates)
		}
		for _, v := range s {
			if !finite(v) {
				return fmt.Errorf("%s scores %v", name, v)
			}
		}
	}
	return nil
}
