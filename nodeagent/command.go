package nodeagent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/provisionhq/provision/nodeagent/pages"
	"github.com/provisionhq/provision/templates"
)

const usage = `usage: node-agent COMMAND

Commands:
  install --bundle FILE     unpack a bundle, make it current, print its ID
  configure                 take this node's configuration, as JSON, from the standard input
  enable                    run the agent now and after every boot
  join FILE                 become the node that the invitation in the file is for
  run                       run the agent in the foreground
  status [--json] [--wait ready|api|runtime|NAME,… [--timeout 60s]]
  logs NAME [-n LINES] [-f]
  restart NAME              restart one process, or node-agent itself, which leaves the processes alone
  etcd members [--json]     show the members of etcd
  etcd add NAME ADDRESS | promote NAME [--timeout 2m] | remove NAME | update NAME ADDRESS | move-leader [--from NAME] [--to NAME]
  etcd snapshot [--keep 5]  copy etcd's data to /var/lib/provision/snapshots
  etcd defrag               give back what the member's file does not use
  etcd wipe                 put the data of a member aside that was removed from the cluster
  etcd restore [--snapshot FILE] --lose-what-only-others-hold
                            make this node's member a cluster of one, when the quorum is lost for good
  reset                     stop everything, and remove all that provision put on this machine
  version
`

// errUsage says that the command line is wrong.
var errUsage = errors.New("wrong usage")

// Main runs one command line and returns the exit code: 0 done, 1 failed, 2 wrong usage, 3 no agent runs.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := dispatch(ctx, args, in, out, errOut)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(errOut, "node-agent: %v\n\n%s", err, usage)
		return 2
	}
	fmt.Fprintf(errOut, "node-agent: %v\n", err)
	if errors.Is(err, errNotRunning) {
		return 3
	}
	return 1
}

func dispatch(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: a command is missing", errUsage)
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	f.SetOutput(io.Discard)
	switch args[0] {
	case "install":
		file := f.String("bundle", "", "")
		if err := parse(f, args[1:], 0); err != nil || *file == "" {
			return errors.Join(err, missing(*file, "--bundle"))
		}
		return runInstall(ctx, *file, out)
	case "configure":
		return then(parse(f, args[1:], 0), func() error { return runConfigure(ctx, in, out) })
	case "enable":
		return then(parse(f, args[1:], 0), func() error { return enable(ctx) })
	case "join":
		err := parse(f, args[1:], 1)
		return then(err, func() error { return runJoin(ctx, f.Arg(0), out) })
	case "run":
		log := slog.New(slog.NewTextHandler(errOut, nil))
		go pages.Trim()
		return then(parse(f, args[1:], 0), func() error { return run(ctx, log) })
	case "status":
		return runStatus(ctx, f, args[1:], out, errOut)
	case "logs":
		n, follow := f.Int("n", 200, ""), f.Bool("f", false, "")
		err := parse(f, args[1:], 1)
		return then(err, func() error { return printLogs(ctx, templates.LogDir, f.Arg(0), *n, *follow, out) })
	case "restart":
		err := parse(f, args[1:], 1)
		return then(err, func() error { return tell(ctx, http.MethodPost, "/restart/"+f.Arg(0)) })
	case "etcd":
		return runEtcd(ctx, args[1:], out, errOut)
	case "reset":
		return then(parse(f, args[1:], 0), func() error { return reset(ctx, errOut) })
	case "version", "--version":
		fmt.Fprintln(out, "node-agent", Version())
		return nil
	case "help", "-h", "--help":
		return flag.ErrHelp
	}
	return fmt.Errorf("%w: no command %q", errUsage, args[0])
}

func then(err error, f func() error) error {
	if err != nil {
		return err
	}
	return f()
}

func missing(value, name string) error {
	if value == "" {
		return fmt.Errorf("%w: %s is missing", errUsage, name)
	}
	return nil
}

// parse reads flags and n arguments, in any order.
func parse(f *flag.FlagSet, args []string, n int) error {
	var plain []string
	for len(args) > 0 {
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			return err
		} else if err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		if args = f.Args(); len(args) > 0 {
			plain, args = append(plain, args[0]), args[1:]
		}
	}
	if len(plain) != n {
		return fmt.Errorf("%w: %s takes %d arguments, not %d", errUsage, f.Name(), n, len(plain))
	}
	return f.Parse(append([]string{"--"}, plain...))
}

// Version returns what this program was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (version == "" || version == "(devel)") {
			version = s.Value
		}
	}
	return version
}
