package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"crayon/internal/kernel"
)

const exitStatus = `
EXIT STATUS
  0  done
  1  it failed
  2  wrong use: arguments, flags, configuration
  3  verification failed: a digest, a fingerprint, a pool or customisation that does not fit
  4  refused: a budget or a policy such as --local-only said no
`

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "crayon",
		Short: "Your own small LLM from a few examples, on your own machine",
		Long: `Crayon blends a pool of jointly trained adapters into one that fits your
examples: no training, under a second, on this machine. What the small LLM
should not answer can go to a larger one on a server you name.

  crayon pull                                    fetch and verify the model
  crayon customize --template > mine.csv         a file to put your examples in
  crayon customize mine -f mine.csv              your own LLM, and the proof of what it is worth
  crayon run mine "the question"                 ask it`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.started, a.cmd = true, cmd
			return kernel.Forced() // also for commands that read no settings
		},
	}
	f := root.PersistentFlags()
	f.SortFlags = false
	f.BoolVar(&a.json, "json", false, "print one JSON object, alone, on standard output")
	f.StringVar(&a.outFile, "out", "", "also write that JSON object to `FILE`")
	f.StringVar(&a.configFile, "config", "", "settings `FILE` instead of crayon.yaml in the working folder")
	settingFlags(f, "home", "model", "pool", "threads", "local_only")
	group(root)
	root.AddCommand(
		a.pullCommand(), a.customizeCommand(), a.runCommand(), a.listCommand(), a.showCommand(), a.weightsCommand(), a.renameCommand(), a.removeCommand(),
		a.undoCommand(), a.exportCommand(), a.evalCommand(), a.poolCommand(), a.serveCommand(), a.routeCommand(), a.benchCommand(),
		a.ledgerCommand(), a.doctorCommand(), a.configCommand(), a.versionCommand(), a.demoCommand(),
	)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(err, flagHint(cmd, err))
	})
	root.SetHelpTemplate(root.HelpTemplate() + exitStatus)
	return root
}

// group makes a command of commands: alone it prints its help, and a word that
// is no command is an error that names the nearest one.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var names []string
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				names = append(names, c.Name())
			}
		}
		return usage(fmt.Errorf("there is no command %q", strings.Join(append(path(cmd), args[0]), " ")),
			nearest(args[0], names, cmd.CommandPath(), cmd.CommandPath()+" --help"))
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// path is a command's path without the program's name.
func path(cmd *cobra.Command) []string { return strings.Fields(cmd.CommandPath())[1:] }

// flagHint names the flag that was likely meant.
func flagHint(cmd *cobra.Command, err error) string {
	help := cmd.CommandPath() + " --help"
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return help
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	for i := range names {
		names[i] = "--" + names[i]
	}
	return nearest("--"+name, names, cmd.CommandPath(), help)
}

// args checks the number of a command's arguments, named for the message.
func args(least, most int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		var err error
		switch {
		case len(given) < least:
			err = fmt.Errorf("%s needs %s", cmd.CommandPath(), names)
		case len(given) > most && most == 0:
			err = fmt.Errorf("%s takes no argument, not %q", cmd.CommandPath(), given[0])
		case len(given) > most:
			err = fmt.Errorf("%s takes %s; %q is one too many", cmd.CommandPath(), names, given[most])
		default:
			return nil
		}
		return usage(err, cmd.UseLine())
	}
}

var errNoFile = errors.New("no example file is named")
