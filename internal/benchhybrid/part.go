package benchhybrid

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"crayon/internal/bench"
	"crayon/internal/fault"
	"crayon/internal/store"
)

// Part is what the device said of one user's stream, kept in a file of its own:
// texts, features and scores, all that signals are measured from.
type Part struct {
	Key      string            `json:"key"`     // of what decides the part, sha256 in hex; the file's name begins with it
	Run      string            `json:"run"`     // of what all parts of a run share
	Digests  map[string]string `json:"digests"` // sha256: model, pool, prior
	Device   string            `json:"device,omitempty"`
	User     string            `json:"user"`
	Dataset  string            `json:"dataset"`
	Family   string            `json:"family"`
	Group    bench.Group       `json:"group"`
	Fold     int               `json:"fold,omitempty"`
	Labels   []string          `json:"labels,omitempty"`
	Strategy string            `json:"strategy"` // that was fitted as Custom; what a chooser chose
	Tau      float64           `json:"tau"`
	Blend    []float32         `json:"blend"` // the customisation's weight an indicator
	Proof    int               `json:"proof,omitempty"`
	Proven   float64           `json:"proven,omitempty"` // of Proof examples, answered without themselves, right
	Fit      float64           `json:"fit_seconds"`
	Examples []Example         `json:"examples"`
	Queries  []Observed        `json:"queries"`
}

// Example is a row that the user gave.
type Example struct {
	Question  string    `json:"question"`
	Context   string    `json:"context,omitempty"`
	Choices   []string  `json:"choices"`
	Answer    int       `json:"answer"`
	Direction []float32 `json:"direction"`
}

// Observed is a query and what the device's passes said of it.
type Observed struct {
	ID       string   `json:"id"`
	Dataset  string   `json:"dataset"`
	Family   string   `json:"family"`
	Own      bool     `json:"own,omitempty"`
	Question string   `json:"question"`
	Context  string   `json:"context,omitempty"`
	Choices  []string `json:"choices"`
	Answer   int      `json:"answer"`

	Tokens        int                  `json:"tokens"`
	ContextTokens int                  `json:"context_tokens,omitempty"`
	Direction     []float32            `json:"direction"`
	Similarity    []float32            `json:"similarity"`
	Scores        map[string][]float64 `json:"scores"`           // by strategy: Base, Shared, Blend, Custom
	Others        map[string][]float64 `json:"others,omitempty"` // what the passes of Custom say besides (strategy.Plan.Overhear)
	Features      []string             `json:"features,omitempty"`
	Table         [][]float64          `json:"table,omitempty"`
	Drafted       bool                 `json:"drafted,omitempty"`
	Draft         []float64            `json:"draft,omitempty"` // probabilities of the first tokens of the greedy answer
	Ended         bool                 `json:"ended,omitempty"`
	Seconds       map[string]float64   `json:"seconds"` // of a strategy's passes, about
}

// The ways the device answers that are observed: the bare model, the pool's
// shared adapter alone, the blend, and the customisation.
const (
	Base   = "base"
	Shared = "shared"
	Blend  = "blend"
	Custom = "custom"
)

// Bounds of a part's file.
const (
	mostPart     = 64 << 20 // bytes
	mostInflated = 512 << 20
	partSuffix   = ".device.json.gz"
)

// write keeps the part in the folder.
func (p *Part) write(folder string) error {
	return store.WriteFile(partPath(folder, p.Key), func(w io.Writer) error {
		zw := gzip.NewWriter(w)
		if err := json.NewEncoder(zw).Encode(p); err != nil {
			return err
		}
		return zw.Close()
	})
}

func partPath(folder, key string) string { return filepath.Join(folder, key[:24]+partSuffix) }

// readPart reads and checks a part.
func readPart(path string) (*Part, error) {
	data, err := store.ReadFile(path, mostPart)
	if err != nil {
		return nil, err
	}
	p := &Part{}
	zr, err := gzip.NewReader(bytes.NewReader(data))
	if err == nil {
		err = json.NewDecoder(io.LimitReader(zr, mostInflated)).Decode(p)
	}
	if err == nil {
		err = p.check()
	}
	if err == nil && !strings.HasPrefix(filepath.Base(path), p.Key[:24]) {
		err = errors.New("it is another's")
	}
	if err != nil {
		return nil, &fault.Error{Op: "read observations", Path: path, Err: err, Exit: fault.ExitVerify, Hint: "remove the file: its user is observed again"}
	}
	return p, nil
}

func (p *Part) check() error {
	if len(p.Key) != 64 || p.User == "" || p.Dataset == "" || p.Run == "" {
		return errors.New("no key, user or data set")
	}
	for i := range p.Queries {
		q := &p.Queries[i]
		if len(q.Choices) < 2 || q.Answer < 0 || q.Answer >= len(q.Choices) {
			return fmt.Errorf("query %s: answer %d of %d choices", q.ID, q.Answer, len(q.Choices))
		}
		for _, way := range []string{Base, Custom} {
			if len(q.Scores[way]) != len(q.Choices) {
				return fmt.Errorf("query %s: %d scores of %s for %d choices", q.ID, len(q.Scores[way]), way, len(q.Choices))
			}
		}
	}
	for i := range p.Examples {
		if e := &p.Examples[i]; len(e.Choices) > 0 && (e.Answer < 0 || e.Answer >= len(e.Choices)) {
			return fmt.Errorf("example %d: answer %d of %d choices", i, e.Answer, len(e.Choices))
		}
	}
	return nil
}

// Parts reads the parts of a run from its folder, in order of pool and user.
func Parts(ctx context.Context, folder, run string) ([]*Part, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, &fault.Error{Op: "read observations", Path: folder, Err: errors.Unwrap(err), Exit: fault.ExitUsage}
	}
	var out []*Part
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), partSuffix) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p, err := readPart(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		if p.Run == run {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *Part) int { return strings.Compare(a.name(), b.name()) })
	return out, nil
}

// name is the user's, with the group: one user may be asked under the pool that
// knows its data set and under one that does not.
func (p *Part) name() string { return p.User + " (" + string(p.Group) + ")" }
