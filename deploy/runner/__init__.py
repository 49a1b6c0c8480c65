"""The on-device runner: builds engines, checks them on samples, measures them, on the board itself.

It travels in every bundle as one file, `runner.pyz`, and the host uses the very same file: there is one path.
It runs on any Python from 3.6 with nothing but numpy and the board's own tensorrt (or onnxruntime, or
tensorrt_rtx).

    python3 runner.pyz                                      build + infer + bench for the bundle it lies in
    python3 runner.pyz build   --bundle DIR --out DIR       one engine a model, and engine.json, their stamp
    python3 runner.pyz infer   --bundle DIR --engines DIR   the bundle's samples through each engine
    python3 runner.pyz bench   --bundle DIR --engines DIR   all models, interleaved, in one session
    python3 runner.pyz bench   ... --video FILE             the application: from a frame to its result
    python3 runner.pyz bench   ... --power-modes all        the same in every power mode of the board
    python3 runner.pyz serve   ... --video /dev/video0      a page with the picture and what is found in it
    python3 runner.pyz profile --bundle DIR --engines DIR   what each layer takes
    python3 runner.pyz compare --bundle DIR --engines DIR --other-bundle DIR --other-engines DIR
    python3 runner.pyz sensors [--seconds N]                what the board says of power, heat and clocks
    python3 runner.pyz verify  FOLDER [--signers FILE]      who vouches for a release, by this board's own file
    python3 runner.pyz deploy  FOLDER                       a release into a slot, tried, and then it serves
    python3 runner.pyz rollback | confirm | boot | status   what serves, and the ways back
    python3 runner.pyz health  --bundle DIR --engines DIR   does the engine do what was promised of it
    python3 runner.pyz doctor  [--bundle DIR]               what is here, what is missing, and the remedy

Standard output carries JSON, one event a line (`schema.json` has their shapes); prose goes to standard error.
Exit codes: 0 done, 2 the request or the bundle is wrong, 3 a tool (or the GPU) is missing, 5 the device
failed, 6 a digest does not match
or nobody vouches for it, 7 the benchmark is invalid, 130 Ctrl-C.
"""
