package peer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"crayon/internal/fault"
)

// Setup is what a child process is asked to be. It is the first line that the
// child reads.
type Setup struct {
	Engine   string    `json:"engine"` // "crayon" or "llamacpp"
	Library  string    `json:"library,omitempty"`
	Model    string    `json:"model"`
	Threads  int       `json:"threads"`
	Adapters []string  `json:"adapters,omitempty"` // GGUF files
	Scales   []float32 `json:"scales,omitempty"`
}

// ready is the child's answer to a Setup, and result to a Work.
type ready struct {
	Engine string `json:"engine"` // name and version, and what it computes with
	Size   Size   `json:"size"`
	Error  string `json:"error,omitempty"`
}

type result struct {
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// Size is how much one token costs an engine; zero where that is not known.
type Size struct {
	Linear int `json:"linear"` // parameters of the linear layers
	Bytes  int `json:"bytes"`  // of packed weights, head included
}

// engine is one side of the race, inside its child process.
type engine interface {
	name() string
	vocab() int
	size() Size
	// clear forgets every token; decode adds tokens and gives the logits of the
	// last, valid until the next call.
	clear() error
	decode(tokens []int32) ([]float32, error)
	close()
}

// promptTokens is the prompt that a Decode continues.
const promptTokens = 16

// maxTokens bounds a Work; both engines are set up for as many positions.
const maxTokens = 2048

// Child serves work from in to out until in ends: the main of a child process.
func Child(in io.Reader, out io.Writer) error {
	from, to := json.NewDecoder(in), json.NewEncoder(out)
	var s Setup
	if err := from.Decode(&s); err != nil {
		return err
	}
	e, err := open(s)
	if err != nil {
		to.Encode(ready{Error: err.Error()})
		return err
	}
	defer e.close()
	if err := to.Encode(ready{Engine: e.name(), Size: e.size()}); err != nil {
		return err
	}
	for {
		var w Work
		if err := from.Decode(&w); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		d, err := w.run(e)
		r := result{Seconds: d.Seconds()}
		if err != nil {
			r.Error = err.Error()
		}
		if err := to.Encode(r); err != nil {
			return err
		}
	}
}

func open(s Setup) (engine, error) {
	switch s.Engine {
	case "crayon":
		return openCrayon(s)
	case "llamacpp":
		return openLlama(s)
	}
	return nil, &fault.Error{Op: "start engine", Err: fmt.Errorf("there is none named %q", s.Engine)}
}

// run does the work and times it, without the emptying of the cache and without
// a Decode's prompt.
func (w Work) run(e engine) (time.Duration, error) {
	if w.Tokens < 1 || w.Tokens+promptTokens > maxTokens {
		return 0, fmt.Errorf("%d tokens", w.Tokens)
	}
	if err := e.clear(); err != nil {
		return 0, err
	}
	switch w.Kind {
	case Prefill:
		start := time.Now()
		_, err := e.decode(tokens(w.Tokens, e.vocab()))
		return time.Since(start), err
	case Decode:
		logits, err := e.decode(tokens(promptTokens, e.vocab()))
		if err != nil {
			return 0, err
		}
		next := []int32{0}
		start := time.Now()
		for range w.Tokens {
			next[0] = argmax(logits)
			if logits, err = e.decode(next); err != nil {
				return 0, err
			}
		}
		return time.Since(start), nil
	}
	return 0, fmt.Errorf("work %q", w.Kind)
}

// tokens are spread over the vocabulary and the same for both engines.
func tokens(n, vocab int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*7919 + 13) % vocab)
	}
	return ids
}

func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}
