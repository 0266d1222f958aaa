// Package pooltrain makes a pool: rows by a recipe, indicators by k-means, joint
// weights by similarity, adapters by the trainer, all in one file at the end.
package pooltrain

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/qa"
	"crayon/internal/store"
	"crayon/internal/task"
	"crayon/internal/train"
)

// Recipe is everything that decides a pool besides the model and the data.
type Recipe struct {
	Name       string `yaml:"name"`
	Adapters   int    `yaml:"adapters"`    // blended adapters, one an indicator
	Rank       int    `yaml:"rank"`        // of each
	SharedRank int    `yaml:"shared_rank"` // of the adapter whose weight is always 1; 0 for none
	Keep       int    `yaml:"keep"`        // blended adapters a customisation keeps
	SingleRank int    `yaml:"single_rank"` // of the benchmark's rival, one adapter trained alike; 0 for none

	FeatureLayer int     `yaml:"feature_layer"`  // 0: first query projection; l: residual after layer l
	FeatureScale bool    `yaml:"feature_scale"`  // divide each dimension by its deviation
	LargestShare float64 `yaml:"largest_weight"` // mean largest weight, sets the softmax's temperature

	Epochs       int     `yaml:"epochs"`
	LearningRate float64 `yaml:"learning_rate"`
	StepTokens   int     `yaml:"step_tokens"`
	MicroTokens  int     `yaml:"micro_tokens"` // computed at a time by one worker; decides the order of sums
	MaxTokens    int     `yaml:"max_tokens"`   // of prompt and longest answer, which has up to 96
	Loss         string  `yaml:"loss"`         // ranking or lm
	Answers      int     `yaml:"answers"`      // the right one and how many wrong ones at most
	ListedShare  float64 `yaml:"listed"`       // share of ordinary rows whose own choices are listed in the prompt
	SubsetShare  float64 `yaml:"subsets"`      // share of label rows that list only some of the labels
	Nested       float64 `yaml:"nested"`       // share of rows whose blended weights are all 0: the shared adapter alone
	Shots        float64 `yaml:"shots"`        // share of rows with 1 to 4 worked examples of the same task before the question
	Topics       float64 `yaml:"topics"`       // share of rows with a subject that are also asked for it, as a label task

	System  string `yaml:"system,omitempty"`  // the system turn of every prompt; "" for none
	Letters bool   `yaml:"letters,omitempty"` // choices are in the prompt, A. to Z., and the answer is a letter

	Rivals []Rival `yaml:"rivals,omitempty"` // single adapters that the benchmark compares with

	Store   string    `yaml:"store"` // quantisation of the stored sides
	Licence string    `yaml:"licence"`
	Limits  []string  `yaml:"limits,omitempty"` // what the pool is not for, in words; onto its card
	Rows    qa.Recipe `yaml:"rows"`             // which rows; rows.seed seeds everything

	Sources []qa.Source `yaml:"sources,omitempty"` // data sets beside those that are named to Run
}

const maxRecipe = 1 << 20

// ReadRecipe reads a YAML recipe; an unknown key is an error.
func ReadRecipe(path string) (Recipe, error) {
	data, err := store.ReadFile(path, maxRecipe)
	if err != nil {
		return Recipe{}, &fault.Error{Op: "read recipe", Path: path, Err: errors.Unwrap(err), Hint: "check the path after --recipe; docs/pool.md has a recipe's keys", Exit: fault.ExitUsage}
	}
	r, err := ParseRecipe(data)
	if err != nil {
		return r, &fault.Error{Op: "read recipe", Path: path, Err: err, Exit: fault.ExitUsage, Hint: "docs/pool.md lists the keys"}
	}
	return r, nil
}

// ParseRecipe reads a YAML recipe over the defaults.
func ParseRecipe(data []byte) (Recipe, error) {
	r := Recipe{
		Name: "pool", Adapters: 8, Rank: 3, SharedRank: 8, Keep: 4, FeatureLayer: 10, FeatureScale: true, LargestShare: 0.6,
		Epochs: 1, LearningRate: 2e-3, StepTokens: 8192, MicroTokens: 512, MaxTokens: 256, Loss: string(train.Ranking), Answers: 5, Store: "Q8_0", Licence: "unstated",
	}
	if len(data) > maxRecipe {
		return r, fmt.Errorf("more than %d bytes", maxRecipe)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&r); err != nil {
		return r, inWords(err)
	}
	return r, r.check()
}

// unknownKey is how the YAML library tells of one.
var unknownKey = regexp.MustCompile(`field (\S+) not found in type \S+`)

// inWords is an error of the YAML library without the program's own types.
func inWords(err error) error {
	var faults *yaml.TypeError
	if !errors.As(err, &faults) {
		return err
	}
	lines := make([]string, len(faults.Errors))
	for i, s := range faults.Errors {
		lines[i] = unknownKey.ReplaceAllString(s, `there is no key "$1"`)
	}
	return errors.New(strings.Join(lines, "; "))
}

// leastPrompt is the room that max_tokens must leave for a prompt beside the
// longest answer, in tokens.
const leastPrompt = 32

// maxSystem bounds the system turn, in bytes: every prompt and every training row
// pays for it.
const maxSystem = 1 << 10

// maxLimits bounds what a card says the pool is not for.
const maxLimits = 64

func (r *Recipe) check() error {
	between := func(name string, v, low, high float64) error {
		if !(v >= low && v <= high) {
			return fmt.Errorf("%s: %g is not in %g..%g", name, v, low, high)
		}
		return nil
	}
	for _, err := range []error{
		between("adapters", float64(r.Adapters), 2, 256),
		between("rank", float64(r.Rank), 1, 256),
		between("shared_rank", float64(r.SharedRank), 0, 256),
		between("single_rank", float64(r.SingleRank), 0, 1024),
		between("keep", float64(r.Keep), 1, float64(r.Adapters)),
		between("largest_weight", r.LargestShare, 1.2/float64(r.Adapters), 0.99),
		between("learning_rate", r.LearningRate, 1e-7, 1),
		between("step_tokens", float64(r.StepTokens), 64, 1<<22),
		between("micro_tokens", float64(r.MicroTokens), 16, 1<<20),
		between("max_tokens", float64(r.MaxTokens), task.MaxAnswer+leastPrompt, 8192),
		between("answers", float64(r.Answers), 1, 64),
		between("listed", r.ListedShare, 0, 1),
		between("subsets", r.SubsetShare, 0, 1),
		between("nested", r.Nested, 0, 0.9),
		between("shots", r.Shots, 0, 1),
		between("topics", r.Topics, 0, 1),
		between("epochs", float64(r.Epochs), 1, 1000),
		between("feature_layer", float64(r.FeatureLayer), 0, 512),
	} {
		if err != nil {
			return err
		}
	}
	if l := train.Loss(r.Loss); l != train.Ranking && l != train.LM {
		return fmt.Errorf("loss: %q is neither %s nor %s", r.Loss, train.Ranking, train.LM)
	}
	if r.Nested > 0 && r.SharedRank == 0 {
		return errors.New("nested: there is no shared adapter to stand alone; set shared_rank")
	}
	if r.Letters && r.ListedShare > 0 {
		return errors.New("letters: the choices are in the prompt already; set listed to 0")
	}
	if len(r.System) > maxSystem || !utf8.ValidString(r.System) {
		return fmt.Errorf("system: more than %d bytes, or not UTF-8", maxSystem)
	}
	if len(r.Limits) > maxLimits || slices.Contains(r.Limits, "") {
		return fmt.Errorf("limits: %d of them (at most %d), none may be empty", len(r.Limits), maxLimits)
	}
	if err := r.checkRivals(); err != nil {
		return err
	}
	if err := r.Rows.Validate(); err != nil {
		return fmt.Errorf("rows.%w", err)
	}
	if err := qa.CheckSources(r.Sources); err != nil {
		return err
	}
	if _, err := r.storeType(); err != nil {
		return err
	}
	return nil
}

var storeTypes = []gguf.Type{gguf.Q8_0, gguf.Q5_0, gguf.Q4_0, gguf.Q4_1, gguf.F16, gguf.F32}

func (r *Recipe) storeType() (gguf.Type, error) {
	var names []string
	for _, t := range storeTypes {
		if t.String() == r.Store {
			return t, nil
		}
		names = append(names, t.String())
	}
	return 0, fmt.Errorf("store: %q is none of %s", r.Store, strings.Join(names, ", "))
}

func (r *Recipe) yaml() (string, error) {
	b, err := yaml.Marshal(r)
	return string(b), err
}
