package pooltrain

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"time"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/chat"
	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/kernel"
	"crayon/internal/model"
	"crayon/internal/pool"
	"crayon/internal/qa"
	"crayon/internal/reference"
	"crayon/internal/task"
	"crayon/internal/tokenizer"
	"crayon/internal/train"
)

// Options of Run.
type Options struct {
	Model     string // GGUF file of the base model
	ModelName string // its name, such as "smollm2-135m"
	Data      string // folder of QA sets in the normal form
	Recipe    Recipe
	Out       string // the pool's file; beside it while training: a checkpoint, a log, a loss curve
	BenchOut  string // where the pool with its rival "single" goes; "" for none
	Workers   int    // 0: one a core
	Progress  func(Stage)
}

// Stage is what a run is doing.
type Stage struct {
	Name  string          // "rows", "features", "indicators", "train", "train single", "write"
	Done  int             // of Total
	Total int             // 0: unknown
	Step  *train.Progress // while training
}

// Colours name the blended adapters, in the order of their indicators.
var Colours = []string{"red", "orange", "yellow", "green", "teal", "blue", "violet", "pink", "brown", "grey", "olive", "navy", "coral", "mint", "plum", "sand"}

// SharedName names the adapter everyone has.
const SharedName = "shared"

func colour(i int) string {
	if i < len(Colours) {
		return Colours[i]
	}
	return fmt.Sprintf("%s-%d", Colours[i%len(Colours)], i/len(Colours)+1)
}

// Run trains a pool and writes it to o.Out. Cancelled, it leaves a checkpoint
// that the next Run with the same settings goes on from.
func Run(ctx context.Context, o Options) (*pool.Pool, error) {
	r := &run{o: o, ctx: ctx, started: time.Now()}
	if r.o.Workers == 0 {
		r.o.Workers = runtime.GOMAXPROCS(0)
	}
	if err := o.Recipe.check(); err != nil {
		return nil, &fault.Error{Op: "train pool", Path: "recipe", Err: err, Exit: fault.ExitUsage}
	}
	for _, step := range []func() error{r.rows, r.features, r.indicators, r.examples, r.train, r.single} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return r.write()
}

type run struct {
	o       Options
	ctx     context.Context
	started time.Time

	training   *qa.Training
	picked     []qa.Labelled
	tokens     *tokenizer.Tokenizer
	form       task.Form
	shape      arch.Config
	lineage    string
	mean       []float32
	directions [][]float32
	centroids  [][]float32
	of         []int
	tau        float32
	data       []train.Example
	params     *train.Params
	rival      *adapter.Adapter
	last       train.Progress
}

func (r *run) stage(name string, done, total int) {
	if r.o.Progress != nil {
		r.o.Progress(Stage{Name: name, Done: done, Total: total})
	}
}

func (r *run) rows() error {
	r.stage("rows", 0, 0)
	d, err := qa.Open(r.o.Data)
	if err != nil {
		return err
	}
	if r.training, err = qa.Sample(r.ctx, d, r.o.Recipe.Rows); err != nil {
		return err
	}
	r.picked = slices.DeleteFunc(r.training.Ordered(r.o.Recipe.Rows.Seed), func(l qa.Labelled) bool {
		return len(l.Choices) < 2 || strings.TrimSpace(l.Question) == ""
	})
	if len(r.picked) < 4*r.o.Recipe.Adapters {
		return &fault.Error{Op: "train pool", Path: r.o.Data, Exit: fault.ExitUsage,
			Err: fmt.Errorf("the recipe leaves %d rows with choices for %d adapters", len(r.picked), r.o.Recipe.Adapters), Hint: "raise the recipe's caps"}
	}
	return nil
}

// features computes every row's direction.
func (r *run) features() error {
	m, err := model.Open(r.o.Model, model.Options{Threads: r.o.Workers})
	if err != nil {
		return err
	}
	defer m.Close()
	r.shape = m.Config
	if r.tokens, err = tokenizer.FromGGUF(m.File()); err != nil {
		return err
	}
	if r.lineage, err = gguf.Fingerprint(m.File()); err != nil {
		return err
	}
	if r.form, err = device.NewForm(r.tokens, pool.Prompt{Template: chat.ChatML}); err != nil {
		return err
	}
	f := pool.Feature{Layer: r.o.Recipe.FeatureLayer, MaxTokens: featureTokens}
	raw := make([][]float32, len(r.picked))
	r.mean = nil
	for i := range r.picked {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if raw[i], err = device.RawFeature(r.ctx, m, r.tokens, f, r.picked[i].Question); err != nil {
			return err
		}
		if r.mean == nil {
			r.mean = make([]float32, len(raw[i]))
		}
		kernel.Axpy(1/float32(len(raw)), raw[i], r.mean)
		if i%256 == 0 {
			r.stage("features", i, len(raw))
		}
	}
	r.directions = make([][]float32, len(raw))
	for i := range raw {
		if r.directions[i], err = pool.Direction(raw[i], r.mean); err != nil {
			return err
		}
	}
	return nil
}

const featureTokens = 128

// indicators clusters the rows and sets the temperature at which the largest
// of a row's weights is LargestShare on average.
func (r *run) indicators() error {
	r.stage("indicators", 0, 0)
	team := kernel.NewTeam(r.o.Workers)
	defer team.Close()
	r.centroids, r.of = kmeans(team, r.directions, r.o.Recipe.Adapters, 40, r.o.Recipe.Rows.Seed)
	low, high := 1e-4, 10.0 // the mean largest weight falls as tau rises
	for range 40 {
		mid := math.Sqrt(low * high)
		if r.largest(float32(mid)) > r.o.Recipe.LargestShare {
			low = mid
		} else {
			high = mid
		}
	}
	r.tau = float32(math.Sqrt(low * high))
	return r.ctx.Err()
}

func (r *run) similarity(i int) []float32 {
	sim := make([]float32, len(r.centroids))
	for j, c := range r.centroids {
		sim[j] = pool.Cosine(r.directions[i], c)
	}
	return sim
}

func (r *run) largest(tau float32) float64 {
	step := max(1, len(r.directions)/2000)
	var sum float64
	n := 0
	for i := 0; i < len(r.directions); i += step {
		sum += float64(slices.Max(pool.Weights(r.similarity(i), tau)))
		n++
	}
	return sum / float64(n)
}

func (r *run) examples() error {
	r.data = make([]train.Example, len(r.picked))
	for i := range r.picked {
		rng := rand.New(rand.NewPCG(r.o.Recipe.Rows.Seed, uint64(i)))
		ex, err := build(&r.form, &r.o.Recipe, &r.picked[i], rng)
		if err != nil {
			return err
		}
		ex.Weights = pool.Weights(r.similarity(i), r.tau)
		r.data[i] = ex
	}
	return nil
}

func (r *run) config(name string) train.Config {
	c := r.o.Recipe
	beside := strings.TrimSuffix(r.o.Out, filepath.Ext(r.o.Out))
	if name != "" {
		beside += "." + name
	}
	stage := strings.TrimSpace("train " + name)
	return train.Config{
		Adapters: c.Adapters, Rank: c.Rank, SharedRank: c.SharedRank,
		Epochs: c.Epochs, LearningRate: c.LearningRate, StepTokens: c.StepTokens, MicroTokens: c.MicroTokens, MaxTokens: c.MaxTokens, Seed: c.Rows.Seed,
		Workers: r.o.Workers, Checkpoint: beside + ".checkpoint", Log: beside + ".jsonl", Plot: beside + ".svg",
		Progress: func(p train.Progress) {
			r.last = p
			if r.o.Progress != nil {
				r.o.Progress(Stage{Name: stage, Done: p.Step, Total: p.Steps, Step: &p})
			}
		},
	}
}

func (r *run) weights() (*reference.Weights, error) {
	f, err := gguf.Open(r.o.Model)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return reference.Load(f, r.shape)
}

func (r *run) train() error {
	w, err := r.weights()
	if err != nil {
		return err
	}
	r.params, err = train.Run(r.ctx, r.config(""), w, r.data)
	return err
}

// single trains the benchmark's rival: one adapter, same rows, same loss, same
// number of steps.
func (r *run) single() error {
	if r.o.BenchOut == "" || r.o.Recipe.SingleRank == 0 {
		return nil
	}
	w, err := r.weights()
	if err != nil {
		return err
	}
	last := r.last
	defer func() { r.last = last }()
	c := r.config(SingleName)
	c.Adapters, c.Rank, c.SharedRank = 0, 0, r.o.Recipe.SingleRank
	for i := range r.data {
		r.data[i].Weights = nil
	}
	p, err := train.Run(r.ctx, c, w, r.data)
	if err != nil {
		return err
	}
	r.rival = p.List([]string{SingleName})[0]
	return nil
}

// SingleName is the rival's name among a pool's baselines.
const SingleName = "single"

func (r *run) write() (*pool.Pool, error) {
	r.stage("write", 0, 0)
	c := r.o.Recipe
	var names []string
	var members []pool.Member
	if c.SharedRank > 0 {
		names = append(names, SharedName)
		members = append(members, pool.Member{Name: SharedName, Rank: c.SharedRank, Shared: true, Examples: len(r.picked)})
	}
	for i := range r.centroids {
		names = append(names, colour(i))
		n, covers := r.covers(i)
		members = append(members, pool.Member{Name: colour(i), Rank: c.Rank, Indicator: r.centroids[i], Examples: n, Covers: covers})
	}
	stack, err := adapter.NewStack(r.params.List(names))
	if err != nil {
		return nil, err
	}
	digest, err := gguf.Digest(r.o.Model)
	if err != nil {
		return nil, err
	}
	recipe, err := c.yaml()
	if err != nil {
		return nil, err
	}
	feature := "q1"
	if c.FeatureLayer > 0 {
		feature = fmt.Sprintf("h%d", c.FeatureLayer)
	}
	p := &pool.Pool{
		Name:    c.Name,
		Base:    pool.Base{Name: r.o.ModelName, Digest: digest, Lineage: r.lineage, Shape: r.shape},
		Feature: pool.Feature{Name: feature, Layer: c.FeatureLayer, Text: "question", MaxTokens: featureTokens, Mean: r.mean, Tau: r.tau},
		Prompt:  pool.Prompt{Template: chat.ChatML},
		Members: members, Stack: stack, Keep: c.Keep,
		Made: pool.Provenance{
			Created: time.Now().UTC().Format(time.RFC3339), Recipe: recipe, Seed: c.Rows.Seed, Licence: c.Licence, Licences: r.training.Licences(),
			Loss: r.last.Loss, Examples: len(r.picked), Steps: r.last.Steps, Seconds: time.Since(r.started).Seconds(), Workers: r.o.Workers,
		},
	}
	for _, n := range r.training.Counts {
		p.Made.Data = append(p.Made.Data, fmt.Sprintf("%s: %d rows", n.Dataset, n.Rows))
	}
	t, err := c.storeType()
	if err != nil {
		return nil, err
	}
	stored, err := p.Write(r.o.Out, t)
	if err != nil || r.rival == nil {
		return stored, err
	}
	p.Baseline = map[string]*adapter.Adapter{SingleName: r.rival}
	_, err = p.Write(r.o.BenchOut, t)
	return stored, err
}

// covers counts a cluster's rows and names the data sets most of them are from.
func (r *run) covers(cluster int) (rows int, most []string) {
	count := map[string]int{}
	for i, c := range r.of {
		if c == cluster {
			rows++
			count[r.picked[i].Dataset]++
		}
	}
	for name := range count {
		most = append(most, name)
	}
	sort.Slice(most, func(i, j int) bool {
		if count[most[i]] != count[most[j]] {
			return count[most[i]] > count[most[j]]
		}
		return most[i] < most[j]
	})
	return rows, most[:min(3, len(most))]
}
