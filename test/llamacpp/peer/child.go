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
	Engine    string    `json:"engine"` // Crayon, Llama or library
	Library   string    `json:"library,omitempty"`
	Model     string    `json:"model"`
	Threads   int       `json:"threads"`
	Adapters  []string  `json:"adapters,omitempty"` // GGUF files
	Scales    []float32 `json:"scales,omitempty"`
	Blends    int       `json:"blends,omitempty"`    // customisations of the pool
	Pool      string    `json:"pool,omitempty"`      // the pool's file; "" is the one within Crayon
	Sequences int       `json:"sequences,omitempty"` // that llama.cpp makes room for; 0 is 1
	Room      int       `json:"room,omitempty"`      // positions that Crayon's caches start with; 0 is maxTokens
	Home      string    `json:"home,omitempty"`      // folder of the library's customisations
}

// ready is the child's answer to a Setup, and result to a Work.
type ready struct {
	Engine string `json:"engine"` // name and version, and what it computes with
	Size   Size   `json:"size"`
	Error  string `json:"error,omitempty"`
}

type result struct {
	Seconds float64     `json:"seconds"`
	Scores  [][]float64 `json:"scores,omitempty"` // of Score: by ask and choice, mean log-probability a token
	Memory  memory      `json:"memory,omitzero"`
	Error   string      `json:"error,omitempty"`
}

// Size is how much one token costs an engine; zero where that is not known.
type Size struct {
	Linear int `json:"linear"` // parameters of the linear layers
	Bytes  int `json:"bytes"`  // of packed weights, head included
	Cache  int `json:"cache"`  // of keys and values of one position in half precision
}

// engine is one side of the race, inside its child process. What it can do is
// told by the interfaces below.
type engine interface {
	name() string
	size() Size
	close()
}

// speaker continues sequences.
type speaker interface {
	vocab() int
	clear() error // forgets every token
	// next adds tokens[i] to sequence i, all in one batch, and puts the likeliest
	// token after each sequence into out.
	next(tokens [][]int32, out []int32) error
}

// scorer gives the mean log-probability a token of each choice of an ask.
type scorer interface {
	score(a Ask, joint bool) ([]float64, error)
}

// opener opens its model once more, and gives the time that it took.
type opener interface {
	open() (time.Duration, error)
}

// customizer makes a customisation from an example file.
type customizer interface {
	customize(examples string) error
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
		r, err := w.run(e)
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
	case Crayon:
		return openCrayon(s)
	case Llama:
		return openLlama(s)
	case library:
		return openLibrary(s)
	}
	return nil, &fault.Error{Op: "start engine", Err: fmt.Errorf("there is none named %q", s.Engine)}
}

// run does the work and times it, without the emptying of the cache and without
// a Decode's prompt.
func (w Work) run(e engine) (result, error) {
	if x, ok := e.(interface{ useBase(bool) }); ok {
		x.useBase(w.Base)
	}
	switch w.Kind {
	case Prefill, Decode:
		x, err := can[speaker](e, w)
		if err != nil {
			return result{}, err
		}
		d, err := w.speak(x)
		return result{Seconds: d.Seconds()}, err
	case Score:
		x, err := can[scorer](e, w)
		if err != nil {
			return result{}, err
		}
		return w.score(x)
	case Memory:
		start := time.Now()
		m, err := readMemory()
		return result{Seconds: time.Since(start).Seconds(), Memory: m}, err
	case Open:
		x, err := can[opener](e, w)
		if err != nil {
			return result{}, err
		}
		d, err := x.open()
		return result{Seconds: d.Seconds()}, err
	case Customize:
		x, err := can[customizer](e, w)
		if err != nil {
			return result{}, err
		}
		start := time.Now()
		err = x.customize(w.Examples)
		return result{Seconds: time.Since(start).Seconds()}, err
	}
	return result{}, fmt.Errorf("work %q", w.Kind)
}

// can is the engine as something that does the work.
func can[T any](e engine, w Work) (T, error) {
	x, ok := e.(T)
	if !ok {
		return x, fmt.Errorf("%s does no work %q", e.name(), w.Kind)
	}
	return x, nil
}

func (w Work) speak(e speaker) (time.Duration, error) {
	if w.Tokens < 1 || w.Tokens+promptTokens > maxTokens || w.Sequences < 0 || w.Sequences > 16 {
		return 0, fmt.Errorf("%d tokens, %d sequences", w.Tokens, w.Sequences)
	}
	if err := e.clear(); err != nil {
		return 0, err
	}
	n := max(w.Sequences, 1)
	in, out := make([][]int32, n), make([]int32, n)
	prompt := promptTokens
	if w.Kind == Prefill {
		prompt = w.Tokens
	}
	for i := range in {
		in[i] = tokens(prompt, e.vocab())
	}
	start := time.Now()
	if err := e.next(in, out); err != nil || w.Kind == Prefill {
		return time.Since(start), err
	}
	last := make([]int32, n)
	for i := range in {
		in[i] = last[i : i+1]
	}
	start = time.Now()
	for range w.Tokens {
		copy(last, out)
		if err := e.next(in, out); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

func (w Work) score(e scorer) (result, error) {
	if len(w.Asks) == 0 {
		return result{}, errors.New("nothing is asked")
	}
	var r result
	start := time.Now()
	for _, a := range w.Asks {
		s, err := e.score(a, w.Joint)
		if err != nil {
			return result{}, err
		}
		r.Scores = append(r.Scores, s)
	}
	r.Seconds = time.Since(start).Seconds()
	return r, nil
}

// tokens are spread over the vocabulary and the same for both engines.
func tokens(n, vocab int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*7919 + 13) % vocab)
	}
	return ids
}
