package strategy

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"crayon/internal/fault"
)

// Prior is what the tasks of other users teach: how far each feature of a stack
// can be trusted, and how much better each strategy is than the default. It is
// learned on families of data that the user's task is not from.
type Prior struct {
	Note   string                       `json:"note"` // where it is from
	Stack  map[string]map[Kind][]Normal `json:"stack"`
	Choice Choice                       `json:"choice"`
}

// Normal is the prior of one coefficient.
type Normal struct {
	Feature string  `json:"feature"`
	Mu      float64 `json:"mu"`
	Sigma   float64 `json:"sigma"` // 0: held at Mu
	Scale   float64 `json:"scale"` // the deviation of the centred feature, which it is divided by
}

// Choice is what the chooser knows beforehand.
type Choice struct {
	Default string                         `json:"default"` // the strategy that others are measured against, with labels
	Kinds   map[Kind]map[string]Experience `json:"kinds"`
	Scope   float32                        `json:"scope"` // without labels: the examples' least mean cosine to their nearest indicator for the blend; below it the shared adapter
}

// Experience is how a strategy did on other users' tasks, in ranking loss a row
// less than the default's (positive is better).
type Experience struct {
	Scale  float64 `json:"scale"`  // of its scores, at which its loss is least
	Mean   float64 `json:"mean"`   // of the advantage, over users
	Spread float64 `json:"spread"` // deviation of the users' true advantages
	Noise  float64 `json:"noise"`  // deviation of a row's advantage within a user
}

//go:embed prior.json
var priorData []byte

var builtin = sync.OnceValues(func() (*Prior, error) { return ParsePrior(priorData) })

// DefaultPrior is the prior that is part of the program.
func DefaultPrior() *Prior {
	p, err := builtin()
	if err != nil {
		return &Prior{} // TestPrior keeps it from coming to this
	}
	return p
}

func (t *Task) prior() *Prior {
	if t.Prior != nil {
		return t.Prior
	}
	return DefaultPrior()
}

// ParsePrior reads a prior's JSON and checks it.
func ParsePrior(data []byte) (*Prior, error) {
	p := &Prior{}
	err := json.Unmarshal(data, p)
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return nil, &fault.Error{Op: "read prior", Err: err, Exit: fault.ExitVerify, Hint: "go run ./bench/prior"}
	}
	return p, nil
}

func (p *Prior) check() error {
	for name, kinds := range p.Stack {
		for kind, terms := range kinds {
			if !slices.Contains(Kinds, kind) {
				return fmt.Errorf("%s: a kind %q", name, kind)
			}
			for _, t := range terms {
				if _, ok := featureOf(t.Feature); !ok {
					return fmt.Errorf("%s, %s: a feature %q", name, kind, t.Feature)
				}
				if !finite(t.Mu) || !finite(t.Sigma) || t.Sigma < 0 || !finite(t.Scale) || t.Scale <= 0 {
					return fmt.Errorf("%s, %s, %s: %g ± %g at scale %g", name, kind, t.Feature, t.Mu, t.Sigma, t.Scale)
				}
			}
		}
	}
	for kind, names := range p.Choice.Kinds {
		if !slices.Contains(Kinds, kind) {
			return fmt.Errorf("choice: a kind %q", kind)
		}
		for name, x := range names {
			if !finite(x.Mean) || !finite(x.Spread) || x.Spread < 0 || !finite(x.Noise) || x.Noise <= 0 || !finite(x.Scale) || x.Scale <= 0 {
				return fmt.Errorf("choice, %s, %s: %+v", kind, name, x)
			}
		}
	}
	if p.Choice.Default == "" {
		return errors.New("choice: no default")
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// Digest is the sha256, in hex, of the prior.
func (p *Prior) Digest() (string, error) {
	text, err := json.Marshal(p)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}
