/**
 * Every limit of the protocol, in one table, with its unit in its name (shared/spec/protocol.md).
 * A limit is checked before anything is allocated for what it bounds.
 */
export const LIMITS = {
  /** One signed announcement: an entry (a commit of up to 2^16 coefficients) and a task. */
  announcementBytesMax: 512 * 1024,
  /** One frame on a session stream, coordinator to worker: the largest is a repaired announcement. */
  sessionFrameFromCoordinatorBytesMax: 576 * 1024,
  /** One frame on a session stream, worker to coordinator: the largest is a result of 2^16 directions' losses. */
  sessionFrameFromWorkerBytesMax: 1536 * 1024,
  /** Frames waiting to be written to one peer; beyond it the peer is closed and resyncs. */
  sendQueueBytesMax: 2 * 1024 * 1024,
  /** What one session may bring in per second, and twice that in a burst: a peer beyond it is closed. */
  sessionFramesPerSecondMax: 500,
  sessionBytesPerSecondMax: 4 * 1024 * 1024,
  /** A session opens with a hello within this time, or it is closed. */
  helloTimeoutMs: 10_000,
  /** One chunk of a blob; the last may be shorter. */
  blobChunkBytes: 256 * 1024,
  /** A blob's list of chunk hashes (32 bytes each): 4 MiB is 32 GiB of blob. */
  blobListBytesMax: 4 * 1024 * 1024,
  /** Chunks a requester keeps outstanding at one donor. */
  blobChunksOutstandingMax: 4,
  /** Announcements in one answer to a ledger-range request. */
  rangeAnnouncementsMax: 256,
  /** Bytes of announcements in one answer to a ledger-range request. */
  rangeBytesMax: 1024 * 1024,
  /** A request on the range or blob protocol is answered within this time, or the stream is aborted. */
  requestTimeoutMs: 30_000,
  /** Streams that one peer, and all peers together, may hold open on each request protocol. */
  requestStreamsPerPeerMax: 8,
  requestStreamsMax: 256,
  /** Requests per second of one peer on each request protocol, twice that in a burst. */
  requestsPerSecondPerPeerMax: 500,
  /** What ranges and blobs may carry out per second, to one peer and to all together, each on its own protocol. */
  requestBytesPerSecondPerPeerMax: 64 * 1024 * 1024,
  requestBytesPerSecondMax: 256 * 1024 * 1024,
  /** What a volunteer gives of blobs, and a coordinator unless it is told otherwise: line and processor are for the running step first. */
  volunteerBytesPerSecondMax: 2 * 1024 * 1024,
  uploadMebibytesPerSecond: 8,
  /** Peers whose buckets are remembered; the longest known are forgotten first. */
  requestPeersRememberedMax: 4_096,
  /** A donor that is busy is asked again after up to this long, this many times in a row before it is given up. */
  busyPauseMsMax: 1_000,
  busyAnswersMax: 60,
  /** The worker's sign of life on its session, and how long silence is borne. */
  heartbeatMs: 5_000,
  silenceMsMax: 20_000,
  /**
   * Our own redial: exponential with full jitter between these, for ever. The second bound is for a port where nobody listens, as of a
   * coordinator that restarts: 1,000 workers then send about 900 small packets a second, and all are back 2 s after it is.
   */
  redialMsMin: 250,
  redialRefusedMsMax: 2_000,
  redialMsMax: 15_000,
  /**
   * Connections a coordinator holds, those still being upgraded, and new ones per second from one address (laboratories share one).
   * An upgrade takes 16 to 25 ms of processor: so many pending ones are done within 3 s, far from the dialler's timeout, and the rest
   * of a crowd is turned away before it costs anything and comes back over redialMsMax.
   */
  connectionsMax: 2_000,
  connectionsPendingMax: 128,
  connectionsPerSecondPerAddressMax: 200,
  /** TCP connections the kernel queues before the listener accepts them. */
  listenBacklogMax: 1_024,
  /** Opening a connection, with its upgrade, takes at most this long. */
  dialTimeoutMs: 10_000,
  /** The transport's own ping; it finds half-open connections that carry no session. */
  pingIntervalMs: 30_000,
  /** How long a closing stream or node may take to hand over what it still holds. */
  closeTimeoutMs: 2_000,
  /** Bytes a peer may send ahead of our reading on one stream, and what an unread stream may hold. */
  streamWindowBytesMax: 1024 * 1024,
  streamUnreadBytesMax: 2 * 1024 * 1024,
  /** One gossip packet from a peer: several announcements travel in one. */
  gossipPacketBytesMax: 2 * 1024 * 1024,
  /** Gossip waiting to be written to one peer. */
  gossipQueueBytesMax: 2 * 1024 * 1024,
  /** What one peer's topic subscriptions may cost; gossipsub counts 1 KiB and the name for each. */
  gossipTopicBytesPerPeerMax: 16 * 1024,
  /** Announcements in a row that gossip could not hand to a subscriber before its connection is closed to start afresh. */
  gossipMissesMax: 3,
  /** Text that people choose: a worker's name, its device line. */
  nameCharactersMax: 64,
  deviceCharactersMax: 128,
  /** Text that says why a coordinator chose what the ledger records. */
  whyCharactersMax: 400,
  /** Groups of one step, and directions of one step over all its groups. */
  groupsPerStepMax: 64,
  directionsPerStepMax: 65_536,
  /** Steps that a job file may ask for, and what it gets where it does not say: then something else ends the job. */
  stepsMax: 100_000_000,
  /** Commits that a task's parameters may lack: so many and one more steps are open at once. */
  stalenessStepsMax: 8,
  /** Runs of slots in one assignment. */
  slotRunsMax: 1_024,
  /** Elements of one input of a model for one example of one token. */
  inputElementsMax: 16 * 1024 * 1024,
  /** Snapshots that a node keeps and tells of, and the bytes of an answer that tells of them. */
  snapshotsKeptMax: 8,
  snapshotsAnswerBytesMax: 1024,
  /** Peers that a coordinator names to a newcomer as donors, and the characters of one's address. */
  donorsMax: 8,
  donorCharactersMax: 160,
  /** How long a newcomer waits for the donors' first answers; who is silent is not asked for more. */
  donorAnswerMs: 3_000,
  /** A standby's request and its coordinator's answer, the files of a job's folder, and the addresses that workers are told. */
  standbyRequestBytesMax: 2 * 1024,
  standbyAnswerBytesMax: 2 * 1024 * 1024,
  standbyFilesMax: 16_384,
  standbyAddressesMax: 4,
  /** How long a standby's question for what comes next is held open while nothing does. */
  standbyHoldMs: 5_000,
  /** The manifest's bytes. */
  manifestBytesMax: 512 * 1024,
} as const;
