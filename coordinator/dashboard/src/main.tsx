/** Starts the page: one state, one reducer, one link to the coordinator; drawn at most once per frame. */
import { render } from "preact";
import { connect } from "./connection.ts";
import { Page } from "./page.tsx";
import { EMPTY, type Message, reduce } from "./state.ts";

const root = document.getElementById("page") as HTMLElement;
let state = EMPTY;
let scheduled = false;

function draw() {
  scheduled = false;
  const { job } = state;
  document.title = job ? `${job.steps === null ? `step ${job.step}` : `${job.step}/${job.steps}`} · ${job.name} · zoswarm` : "zoswarm";
  render(<Page state={state} />, root);
}

function dispatch(message: Message) {
  state = reduce(state, message);
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(draw);
}

draw();
connect(dispatch, () => state);
