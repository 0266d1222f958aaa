package pooltrain

import (
	"fmt"
	"regexp"

	"crayon/internal/adapter"
	"crayon/internal/gguf"
	"crayon/internal/pool"
	"crayon/internal/train"
)

// Rival is a single adapter of the benchmark, trained alike: on the pool's
// examples in their order, with its loss and its steps.
type Rival struct {
	Name         string  `yaml:"name"`
	Rank         int     `yaml:"rank"`
	LearningRate float64 `yaml:"learning_rate"`
}

// maxRivals bounds a recipe's list.
const maxRivals = 64

var rivalName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (r *Recipe) checkRivals() error {
	if len(r.Rivals) > maxRivals {
		return fmt.Errorf("rivals: %d, at most %d", len(r.Rivals), maxRivals)
	}
	names := map[string]bool{}
	for _, x := range r.Rivals {
		switch {
		case !rivalName.MatchString(x.Name):
			return fmt.Errorf("rivals: the name %q is not letters, digits, _ and -", x.Name)
		case names[x.Name]:
			return fmt.Errorf("rivals: two are named %q", x.Name)
		case x.Rank < 1 || x.Rank > 1024:
			return fmt.Errorf("rivals: %s: rank %d is not in 1..1024", x.Name, x.Rank)
		case !(x.LearningRate >= 1e-7 && x.LearningRate <= 1):
			return fmt.Errorf("rivals: %s: learning_rate %g is not in 1e-07..1", x.Name, x.LearningRate)
		}
		names[x.Name] = true
	}
	return nil
}

// rivals trains the recipe's rivals beside the pool p and writes them to
// o.Rivals, at 16 bits.
func (r *run) rivals(p *pool.Pool) error {
	b := &pool.Baselines{Base: p.Base, Pool: p.Digest(), Recipe: p.RecipeDigest(), Adapters: map[string]*adapter.Adapter{}}
	for _, x := range r.o.Recipe.Rivals {
		c := r.config()
		c.LearningRate, c.Checkpoint, c.Log, c.Plot = x.LearningRate, beside(r.o.Rivals, x.Name, ".checkpoint"), beside(r.o.Rivals, x.Name, ".jsonl"), beside(r.o.Rivals, x.Name, ".svg")
		params, err := r.alone(c, x.Rank)
		if err != nil {
			return err
		}
		b.Adapters[x.Name] = params.List([]string{x.Name})[0]
	}
	_, err := b.Write(r.o.Rivals, gguf.F16)
	return err
}

// alone trains one adapter, which has no weights by example.
func (r *run) alone(c train.Config, rank int) (*train.Params, error) {
	c.Adapters, c.Rank, c.SharedRank = 0, 0, rank
	data := make([]train.Example, len(r.data))
	for i, e := range r.data {
		e.Weights = nil
		data[i] = e
	}
	return r.fit(c, data)
}
