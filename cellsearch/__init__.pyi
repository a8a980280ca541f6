from cellsearch import strategies as strategies
from cellsearch import tasks as tasks
from cellsearch import zoo as zoo
from cellsearch.compiler.module import compile_cell as compile_cell
from cellsearch.errors import CellsearchError as CellsearchError
from cellsearch.executors.in_process import InProcess as InProcess
from cellsearch.executors.ray import Ray as Ray
from cellsearch.experiment import Experiment as Experiment
from cellsearch.experiment import load_experiment as load_experiment
from cellsearch.experiment.catalog import load_space as load_space
from cellsearch.genome.graph import Genome as Genome
from cellsearch.history import History as History
from cellsearch.runs import Run as Run
from cellsearch.runs import load_model as load_model
from cellsearch.runs import open_run as open_run
from cellsearch.runs.comparing import compare as compare
from cellsearch.search import Search as Search
from cellsearch.search.progress import progress as progress
from cellsearch.space import SearchSpace as SearchSpace
from cellsearch.trial import Budget as Budget
from cellsearch.trial import Proposal as Proposal
from cellsearch.trial import Result as Result
from cellsearch.trial import Trial as Trial

__version__: str
