package peer

// Kind is a piece of work that is timed.
type Kind string

// The kinds of work.
const (
	Prefill   Kind = "prefill"   // one prompt of Tokens tokens, logits of its last
	Decode    Kind = "decode"    // Tokens greedy steps after a prompt of 16 tokens
	Score     Kind = "score"     // each of Asks in turn: log-probabilities of its choices
	Memory    Kind = "memory"    // how much memory the child holds
	Open      Kind = "open"      // open the model once more, beside the one that is open
	Customize Kind = "customize" // make a customisation from the file Examples
)

// Work is one timed piece of work.
type Work struct {
	Kind      Kind   `json:"kind"`
	Tokens    int    `json:"tokens,omitempty"`
	Sequences int    `json:"sequences,omitempty"` // of Decode, in one batch; 0 is 1
	Asks      []Ask  `json:"asks,omitempty"`
	Joint     bool   `json:"joint,omitempty"` // llama.cpp scores prompt and choices in one batch
	Examples  string `json:"examples,omitempty"`
	Base      bool   `json:"base,omitempty"` // Crayon answers without its customisations
}

// units is how much a work makes, in what unit says.
func (w Work) units() float64 {
	if w.Kind == Score {
		return float64(len(w.Asks))
	}
	return float64(w.Tokens * max(w.Sequences, 1))
}

func (w Work) unit() string {
	if w.Kind == Score {
		return "questions/s"
	}
	return "tokens/s"
}

// Ask is a question with the choices to be scored after it, as tokens.
type Ask struct {
	Prompt  []int32   `json:"prompt"`
	Choices [][]int32 `json:"choices"`
}

// Adapters is a set of random LoRA adapters in use on all linears, the same
// weights for both engines.
type Adapters struct {
	Rank   int       `json:"rank"`
	Scales []float32 `json:"scales"` // one an adapter
}

// Files of a model that llama.cpp may be given.
const (
	SameFile = ""     // the file that Crayon runs
	Q4_0File = "q4_0" // llama.cpp's own Q4_0 requantisation of it
)

// Contender is a choice of what Crayon is held against in a row; of several the
// fastest counts.
type Contender struct {
	Engine      string `json:"engine,omitempty"`       // "" is llama.cpp; Crayon where it is held against itself
	File        string `json:"file,omitempty"`         // SameFile or Q4_0File
	AdapterType string `json:"adapter_type,omitempty"` // "F32", "F16" or "Q8_0"
	Joint       bool   `json:"joint,omitempty"`        // see Work
	Base        bool   `json:"base,omitempty"`         // without the row's customisation
	Alone       bool   `json:"alone,omitempty"`        // one sequence instead of the row's several
}

// work is a row's work as the contender does it.
func (c Contender) work(w Work) Work {
	w.Joint, w.Base = c.Joint, c.Base
	if c.Alone {
		w.Sequences = 0
	}
	return w
}

// Ceiling is a loop of the machine that a row is also held against.
type Ceiling string

// The ceilings.
const (
	Int8 Ceiling = "int8" // products of 8-bit integers, two operations each
	Read Ceiling = "read" // reading memory, over 1 GiB
)

// Row is a line of the table: one work, both sides' way of doing it, and the
// name its ratio has on the last line.
type Row struct {
	Name     string
	Work     Work
	Model    string    // alias of the model
	Adapters *Adapters // of Crayon; nil for none
	// Merged tells that llama.cpp gets the adapters as one concatenated adapter
	// of their summed rank.
	Merged     bool
	Blends     int // customisations of the default pool that Crayon runs: sequence i has the i-th
	Contenders []Contender
	Cost       bool    // the figure is the share of speed lost, 1 - ratio
	Ceiling    Ceiling // "" for none
}

// Seed makes the random adapters the same in every run.
const Seed = 1

// Engines.
const (
	Crayon  = "crayon"
	Llama   = "llamacpp"
	library = "library" // Crayon's public API with model and pool open, as a server has it
)

var (
	prefill = Work{Kind: Prefill, Tokens: 512}
	decode  = Work{Kind: Decode, Tokens: 128}
	same    = []Contender{{}}
	best    = []Contender{{File: Q4_0File}, {}}
	four    = &Adapters{Rank: 16, Scales: []float32{0.4, 0.3, 0.2, 0.1}}
	typed   = []Contender{{AdapterType: "F32"}, {AdapterType: "F16"}, {AdapterType: "Q8_0"}}
)

const (
	smollm = "smollm2-135m"
	qwen05 = "qwen2.5-coder-0.5b"
	qwen15 = "qwen2.5-coder-1.5b"
)

// Rows is the table; a run takes all of it unless told otherwise. Rows of one
// model stand together, as a child lives until the last row that needs it.
var Rows = []Row{
	{Name: "prefill", Work: prefill, Model: smollm, Contenders: same, Ceiling: Int8},
	{Name: "decode", Work: decode, Model: smollm, Contenders: same, Ceiling: Read},
	{Name: "prefill_best", Work: prefill, Model: smollm, Contenders: best},
	{Name: "decode_best", Work: decode, Model: smollm, Contenders: best},
	{Name: "prefill_blend", Work: prefill, Model: smollm, Adapters: four, Contenders: typed},
	{Name: "decode_blend", Work: decode, Model: smollm, Adapters: four, Contenders: typed},
	{Name: "decode_concat", Work: decode, Model: smollm, Adapters: four, Merged: true, Contenders: typed},
	{Name: "score", Work: Work{Kind: Score}, Model: smollm, Contenders: []Contender{{}, {Joint: true}}},
	{Name: "batch4", Work: Work{Kind: Decode, Tokens: 128, Sequences: 4}, Model: smollm, Blends: 4, Contenders: []Contender{{Engine: Crayon, Alone: true}}},
	{Name: "qwen05_prefill", Work: prefill, Model: qwen05, Contenders: same, Ceiling: Int8},
	{Name: "qwen05_decode", Work: decode, Model: qwen05, Contenders: same, Ceiling: Read},
	{Name: "qwen15_prefill", Work: prefill, Model: qwen15, Contenders: same, Ceiling: Int8},
	{Name: "qwen15_decode", Work: decode, Model: qwen15, Contenders: same, Ceiling: Read},
	{Name: "blend_cost", Work: decode, Model: smollm, Blends: 1, Contenders: []Contender{{Engine: Crayon, Base: true}}, Cost: true},
}

// FootprintName is what a run calls the memory and start-up figures among its rows.
const FootprintName = "footprint"
