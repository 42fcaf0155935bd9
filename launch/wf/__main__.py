from wf.command import main

raise SystemExit(main())
