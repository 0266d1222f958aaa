package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"crayon"
	"crayon/internal/fault"
	"crayon/internal/paint"
	"crayon/internal/view"
)

// runOptions are the flags of run.
type runOptions struct {
	base, compare bool
	side, choices string
	question      crayon.Question
	context       string
}

// maxPrompt bounds a question from standard input, in bytes.
const maxPrompt = 4 << 20

func (a *app) runCommand() *cobra.Command {
	var o runOptions
	q := &o.question
	cmd := &cobra.Command{
		Use: "run [NAME] [QUESTION]", Short: "Ask one question, or chat",
		Long: `Asks the customisation NAME, or the bare base model without one (or with "base").
With a QUESTION, or one on standard input, it is answered and the program ends;
otherwise a chat begins, whose commands /help lists. Each answer is followed, on
standard error, by who answered and why. With --adapter an adapter from elsewhere
answers, in the model's own prompt form, and there are no customisations.`,
		Example: "  crayon run mine \"the chain came off\"\n  crayon run mine --compare \"the chain came off\"\n  crayon run mine --choices \"yes|no|ask a person\" \"may I return it?\"\n  crayon run mine < question.txt\n  crayon run --adapter my-peft-folder \"the chain came off\"",
		Args:    cobra.ArbitraryArgs, ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, text, err := a.whom(args)
			if err != nil {
				return err
			}
			if a.adapter != "" {
				if err := o.alone(name); err != nil {
					return err
				}
			}
			if q.Side, err = parseSide(o.side); err != nil {
				return err
			}
			if err := q.Sampling.Check(); err != nil {
				return err
			}
			q.Text, q.Context, q.Choices = text, o.context, crayon.SplitChoices(o.choices)
			if q.Text == "" && !isTerminal(a.in) {
				if q.Text, err = readPrompt(a.in); err != nil {
					return err
				}
			}
			c, custom, err := a.openWith(cmd.Context(), name)
			if err != nil {
				return err
			}
			defer c.Close()
			if q.Text == "" {
				if a.json {
					return usage(fmt.Errorf("--json needs a QUESTION"), "crayon run NAME --json \"QUESTION\"")
				}
				return a.chat(cmd.Context(), c, custom, o)
			}
			return a.ask(cmd.Context(), c, custom, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&a.adapter, "adapter", "", adapterHelp)
	f.BoolVar(&o.base, "base", false, "ask the bare base model, NAME notwithstanding")
	f.BoolVar(&o.compare, "compare", false, "answer twice, base and customised side by side")
	f.StringVar(&o.side, "route", "", "force a side: device or server")
	f.StringVar(&o.context, "context", "", "background `TEXT` for the question")
	f.StringVar(&o.choices, "choices", "", choicesHelp)
	f.Float64Var(&q.Temperature, "temperature", 0, "0 takes the likeliest token each time")
	f.IntVar(&q.TopK, "top-k", 0, "draw from the k likeliest tokens; 0 from all")
	f.Float64Var(&q.TopP, "top-p", 0, "draw from the likeliest tokens up to this probability; 0 from all")
	f.Float64Var(&q.MinP, "min-p", 0, "leave out tokens less likely than this times the likeliest")
	f.Uint64Var(&q.Seed, "seed", 0, "of the generator: equal seeds give equal answers")
	f.IntVar(&q.MaxTokens, "max-tokens", 256, "longest answer; 0 until the context is full")
	f.StringArrayVar(&q.Stop, "stop", nil, "end the answer before this `TEXT` (may be repeated)")
	settingFlags(f, "server.url", "server.model", "ledger.bodies", "route.mode")
	return cmd
}

const choicesHelp = "the answer is one of `A|B|C`"

const adapterHelp = "answer with the adapter at `PATH`: a PEFT folder or a GGUF LoRA file"

// alone says what of the arguments makes no sense beside --adapter.
func (o runOptions) alone(name string) error {
	const hint = "crayon run base \"QUESTION\" --adapter PATH"
	switch {
	case name != "" && name != base:
		return usage(fmt.Errorf("there are no customisations beside --adapter, so %q is none", name), hint)
	case o.base, o.compare:
		return usage(errors.New("--base and --compare are about customisations, which --adapter leaves out"), hint)
	}
	return nil
}

// whom reads NAME and QUESTION from the arguments. One word alone is a name,
// unless it cannot be one.
func (a *app) whom(args []string) (name, text string, err error) {
	switch {
	case len(args) == 0:
		return "", "", nil
	case args[0] == base:
		return base, strings.Join(args[1:], " "), nil
	case crayon.CheckName(args[0]) != nil:
		return "", strings.Join(args, " "), nil
	}
	return args[0], strings.Join(args[1:], " "), nil
}

func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func readPrompt(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPrompt+1))
	if err == nil && len(data) > maxPrompt {
		err = fmt.Errorf("larger than %d bytes", maxPrompt)
	}
	text := strings.TrimSpace(string(data))
	if err == nil && text == "" {
		err = fmt.Errorf("there is no question on it")
	}
	if err != nil {
		return "", &fault.Error{Op: "read standard input", Err: err, Hint: "crayon run NAME \"the question\"", Exit: fault.ExitUsage}
	}
	return text, nil
}

// answered is the JSON of one answer.
type answered struct {
	Name      string          `json:"name,omitempty"`    // the customisation; none for the base model
	Adapter   string          `json:"adapter,omitempty"` // of --adapter, in its place
	Question  string          `json:"question"`
	Answer    string          `json:"answer"`
	Decision  crayon.Decision `json:"decision"`
	Finish    string          `json:"finish"`
	Model     string          `json:"model,omitempty"` // of the server
	Prompt    int             `json:"prompt_tokens"`
	Tokens    int             `json:"completion_tokens"`
	FirstByte float64         `json:"first_byte_seconds"`
	Seconds   float64         `json:"seconds"`
}

func jsonAnswer(custom *crayon.Customisation, question string, x crayon.Answer) answered {
	r := answered{Question: question, Answer: x.Text, Decision: x.Decision, Finish: x.Finish, Model: x.Model,
		Prompt: x.PromptTokens, Tokens: x.CompletionTokens, FirstByte: x.FirstByte.Seconds(), Seconds: x.Took.Seconds()}
	if custom != nil {
		r.Name = custom.Name
	}
	return r
}

// ask answers one question.
func (a *app) ask(ctx context.Context, c *crayon.Crayon, custom *crayon.Customisation, o runOptions) error {
	if o.base {
		custom = nil
	}
	if o.compare {
		return a.compareOnce(ctx, c, custom, o)
	}
	var sink crayon.Sink = crayon.Silent
	if !a.json {
		sink = &printer{w: a.out}
	}
	x, err := c.Session(custom).Ask(ctx, o.question, sink)
	if err != nil {
		if x.Text != "" {
			fmt.Fprintln(a.text())
		}
		return err
	}
	fmt.Fprintln(a.text())
	a.told(x)
	result := jsonAnswer(custom, o.question.Text, x)
	result.Adapter = c.Adapter()
	return a.emit(result, nil)
}

// told is the line after an answer: who answered, why, with which numbers.
func (a *app) told(x crayon.Answer) {
	if a.json {
		return
	}
	if stale := x.Decision.Stale; len(stale) > 0 {
		a.warn(fmt.Sprintf("the calibration is stale (%s changed) and is not used: crayon route calibrate", strings.Join(stale, ", ")))
	}
	line := view.Decision(x.Decision)
	if x.Model != "" {
		line += " · " + x.Model
	}
	if x.Label != nil {
		line += fmt.Sprintf(" · chosen of %d labels in %.2f s", len(x.Label.Scores), x.Took.Seconds())
	} else {
		line += fmt.Sprintf(" · %d tokens in %.2f s", x.CompletionTokens, x.Took.Seconds())
		if s := x.Took.Seconds(); s > 0 {
			line += fmt.Sprintf(" (%.0f tokens/s)", float64(x.CompletionTokens)/s)
		}
	}
	fmt.Fprintln(a.err, paint.For(a.err).Dim(line))
}

// compareOnce answers with the base model and with the customisation.
func (a *app) compareOnce(ctx context.Context, c *crayon.Crayon, custom *crayon.Customisation, o runOptions) error {
	if custom == nil {
		return usage(fmt.Errorf("--compare needs the NAME of a customisation"), "crayon run NAME --compare \"QUESTION\"")
	}
	bare, x, err := a.both(ctx, c.Session(nil), c.Session(custom), o.question)
	if err != nil {
		return err
	}
	result := map[string]answered{"base": jsonAnswer(nil, o.question.Text, bare), "customised": jsonAnswer(custom, o.question.Text, x)}
	return a.emit(result, func(w io.Writer) { a.columns(w, custom.Name, bare, x) })
}

// both asks the base model, on the device, and the customisation.
func (a *app) both(ctx context.Context, bare, custom *crayon.Session, q crayon.Question) (b, x crayon.Answer, err error) {
	alone := q
	alone.Side = crayon.OnDevice
	if b, err = bare.Ask(ctx, alone, crayon.Silent); err != nil {
		return b, x, err
	}
	x, err = custom.Ask(ctx, q, crayon.Silent)
	return b, x, err
}

func (a *app) columns(w io.Writer, name string, bare, x crayon.Answer) {
	style := a.style()
	width := style.Width
	if width == 0 {
		width = 100
	}
	io.WriteString(w, style.Columns(width, base, bare.Text, name, x.Text))
	a.told(x)
}

// printer is a sink that writes the answer as it comes.
type printer struct {
	w io.Writer
}

func (p *printer) Decided(crayon.Decision) error { return nil }

func (p *printer) Text(s string) error {
	_, err := io.WriteString(p.w, s)
	return err
}
